"""``python -m reproduce.choosing``."""

import sys

from reproduce.choosing import main

sys.exit(main())
