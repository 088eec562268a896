"""The page of the service: type sentences, see what comes next. One file, ``page.html``, without parts from elsewhere.

Contract: the page is the same for every service and says nothing about it; its script asks the service. The browser
runs only this script and this style, named by their hashes, and talks only to this service.
"""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files

HTML = files("lvm.service").joinpath("page.html").read_text(encoding="utf-8")


def _hashed(tag: str) -> str:
    """The source expression of the one inline element of this kind."""
    (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", HTML, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hashed('script')}",
            f"style-src {_hashed('style')}",
            "img-src data:",  # the icon
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",  # a script that writes HTML fails
        )
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
