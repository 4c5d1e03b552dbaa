"""`python -m mmgr_jax.page report.json ...`: the page of each, beside it."""

import json
import sys
from pathlib import Path

from mmgr_jax.page.render import render

if __name__ == "__main__":
    for name in sys.argv[1:]:
        path = Path(name)
        page = path.with_suffix(".html")
        page.write_text(render(json.loads(path.read_text())))
        print(page)
