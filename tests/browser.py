"""Opens a page in a headless Chromium, lets a script work on it, and gives what the script found."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
NODE = shutil.which("node")

ERRORS = '<script>window.errors = []; window.addEventListener("error", e => window.errors.push(e.message));</script>'


def look(page: Path, script: str, folder: Path, width: int = 1100, dark: bool = False) -> Any:
    """What `script`, the body of a function run after the page's own scripts, returns; errors of scripts fail.

    Chromium makes no window narrower than 500 pixels, so the page is in a frame of this width.
    """
    text = page.read_text(encoding="utf-8").replace("<title>", f"{ERRORS}<title>", 1)
    found = f"""<script>
    const seen = (() => {{ {script} }})();
    parent.postMessage(JSON.stringify({{ seen, errors: window.errors }}), "*");
    </script></html>"""
    (folder / "inner.html").write_text(text.replace("</html>", found), encoding="utf-8")
    outer = f"""<!doctype html><html><body>
    <iframe src="inner.html" style="border: 0; width: {width}px; height: 900px"></iframe>
    <script>addEventListener("message", e => {{
      document.body.textContent = "[" + btoa(unescape(encodeURIComponent(e.data))) + "]";
    }});</script></body></html>"""
    (folder / "outer.html").write_text(outer, encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    options += [f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
    options += ["--window-size=1200,1000", f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    done = subprocess.run(
        [BROWSER, *options, f"file://{folder / 'outer.html'}"], capture_output=True, encoding="utf-8", timeout=600
    )
    message = re.search(r"<body>\[(.*?)\]", done.stdout, re.DOTALL)
    assert message, f"the page said nothing: {done.stdout[-2000:]}"
    result = json.loads(base64.b64decode(message[1]))
    assert result["errors"] == []
    return result["seen"]
