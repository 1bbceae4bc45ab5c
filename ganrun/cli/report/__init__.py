"""``ganrun report``: one page that shows a run, a sweep or several runs, and opens from disk without a network.

Jinja2 writes the page, since it escapes whatever a folder says of itself; matplotlib draws, since every figure of the project is
drawn with it. Curves stand in the page as SVG whose words take the page's colours, pictures as PNG or WebP.
"""
