#!/bin/sh
# A browser for the tests of `ganrun report`, where there is none and apt may install one: as root, or by a sudo that asks nothing.
# Never fails: without a browser those tests are skipped, and say so.
command -v chromedriver >/dev/null 2>&1 && exit 0
command -v apt-get >/dev/null 2>&1 || exit 0
if [ "$(id -u)" = 0 ]; then as_root=; elif sudo -n true 2>/dev/null; then as_root="sudo -n"; else exit 0; fi
install() {
    DEBIAN_FRONTEND=noninteractive timeout 240 $as_root apt-get install -y -qq --no-install-recommends chromium chromium-driver
}
install >/dev/null 2>&1 || { timeout 60 $as_root apt-get update -qq && install; } >/dev/null 2>&1 ||
    echo "no browser could be installed by apt: the tests of ganrun report's pages in one are skipped"
exit 0
