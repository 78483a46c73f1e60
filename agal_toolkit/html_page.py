"""One page of HTML with chemiscope in it, which opens without a network, a kernel or a server."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

# The policy forbids every request, so that the page tells nobody that it was opened. Scripts and
# data are compressed: chemiscope alone is 3 MB.
_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; connect-src 'none'; \
script-src 'unsafe-inline' 'unsafe-eval' blob:; style-src 'unsafe-inline' blob:; \
img-src data: blob:; font-src data:; worker-src blob:">
<title>$title</title>
<style>
body { font-family: sans-serif; margin: 1em; }
#view { height: 90vh; max-width: 1400px; }
</style>
</head>
<body>
<div id="view">Opening …</div>
<script type="module">
const unpacked = async text => {
    const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
    return new Response(stream).text();
};
const [code, value] = await Promise.all(['code', 'data'].map(
    name => unpacked(document.getElementById(name).textContent)));
const place = document.getElementById('view');
try { localStorage.setItem('plausible_ignore', 'true'); } catch (error) { /* no storage here */ }
const script = Object.assign(document.createElement('script'), {type: 'module'});
script.textContent = code + ';window.agalView = anywidget;window.dispatchEvent(new Event("agal"));';
window.addEventListener('agal', () => {
    const state = {mode: 'default', value, has_metadata: true, warning_timeout: 4000,
        settings: JSON.parse(value).settings, selected_ids: {}, active_viewer: 0};
    const model = {get: name => state[name], set: (name, to) => { state[name] = to; },
        on() {}, off() {}, save_changes() {}, send() {}};
    place.textContent = '';
    window.agalView.render({model, el: place});
});
document.head.append(script);
</script>
<script type="text/plain" id="code">$code</script>
<script type="text/plain" id="data">$data</script>
</body>
</html>
""")


def page(content: Mapping[str, Any], title: str) -> str:
    """Return a page that shows input of chemiscope, from ``chemiscope.create_input``.

    Args:
        content: structures, properties and settings.
        title: of the page.
    """
    code = (files("chemiscope") / "static" / "chemiscope-widget.mjs").read_bytes()
    return _PAGE.substitute(
        title=escape(title),
        code=_packed(code),
        data=_packed(json.dumps(content).encode()),
    )


def _packed(content: bytes) -> str:
    return b64encode(gzip.compress(content, mtime=0)).decode()
