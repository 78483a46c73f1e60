"""What can be measured of how panels look: places and sizes of their parts, contrasts of texts, and
names of controls.

Each function takes the locator of an output and returns sentences about what is wrong.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Locator

SMALLEST_PICTURE = (200, 120)  # pixels
SMALLEST_SCALE = 0.5  # of a picture's own width: its texts have 10 points
SHORTEST_TRACK = 60  # pixels, of a slider
LOWEST_CONTRAST = 4.5  # of normal text, Web Content Accessibility Guidelines 2.2, 1.4.3

# A part is a widget that holds no others: a button, a slider, a picture. Widgets of ipympl and
# nglview have an inner life, which is theirs.
_PARTS = """output => {
    const kinds = '.jupyter-widgets:not(.widget-box), .widget-toggle-buttons,' +
        ' .jupyter-matplotlib, .lm-Widget:has(> .ui-resizable)';
    const found = [...output.querySelectorAll(kinds)].filter(
        part => part.parentElement.closest(kinds) === null && part.offsetParent !== null);
    const frame = output.getBoundingClientRect();
    return found.map(part => {
        const box = part.getBoundingClientRect();
        const picture = part.matches('img') ? part : part.querySelector('canvas');
        const track = picture ? null : part.querySelector('.slider');  // nglview hides one
        const texts = part.matches('button') ? [part]
            : [...part.querySelectorAll('button, .widget-label, .widget-readout')];
        if (part.matches('.widget-label')) texts.push(part);
        return {
            name: part.innerText?.trim().replace(/\\s+/g, ' ') ||
                (picture ? `picture ${picture.width} wide` : part.className),
            left: box.left, top: box.top, right: box.right, bottom: box.bottom,
            frame: [Math.max(frame.left, 0), Math.min(frame.right, window.innerWidth)],
            empty: !(part.innerText ?? '').trim() && !picture && !track &&
                !part.querySelector('.progress, input'),
            picture: picture && [box.width, box.height],
            scale: part.matches('img') && part.naturalWidth ? box.width / part.naturalWidth : 1,
            track: track && track.getBoundingClientRect().width,
            cut: texts.filter(text => text.offsetParent && text.scrollWidth > text.clientWidth + 1)
                .map(text => text.innerText.trim()),
        };
    });
}"""

_TEXTS = """output => {
    const context = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
    const rgba = colour => {  // whatever way CSS has to write a colour
        context.clearRect(0, 0, 1, 1);
        context.fillStyle = colour;
        context.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
        return [r, g, b, a / 255];
    };
    const over = ([r, g, b, alpha], bottom) =>
        [r, g, b].map((x, i) => alpha * x + (1 - alpha) * bottom[i]);
    const ground = element => {
        const own = rgba(getComputedStyle(element).backgroundColor);
        if (own[3] === 1) return own.slice(0, 3);
        return over(own, element.parentElement ? ground(element.parentElement) : [255, 255, 255]);
    };
    const exempt = '[disabled], .jupyter-matplotlib-toolbar, script, style,' +
        ' .mod-success, .mod-danger, .mod-warning, .mod-info, .mod-primary';
    const walker = document.createTreeWalker(output, NodeFilter.SHOW_TEXT);
    const found = [];
    while (walker.nextNode()) {
        const text = walker.currentNode.data.replace(/[\\s\\u200b]+/g, ' ').trim();
        const element = walker.currentNode.parentElement;
        const style = getComputedStyle(element);
        if (!text || element.offsetParent === null || style.visibility === 'hidden' ||
            !element.closest('.jupyter-widgets') || element.closest(exempt)) continue;
        const behind = ground(element);
        const colour = over(rgba(style.color), behind);
        let opacity = 1;
        for (let e = element; e && e !== output; e = e.parentElement)
            opacity *= parseFloat(getComputedStyle(e).opacity);
        found.push({text, colour: over([...colour, opacity], behind), ground: behind});
    }
    return found;
}"""


def misplaced(output: Locator) -> list[str]:
    """Parts of a panel that are outside the page, too small, cut off or on top of each other."""
    parts = [part for part in output.evaluate(_PARTS) if not part["empty"]]
    wrong = [] if parts else ["there is no widget"]
    for part in parts:
        name, (left, right) = f"{part['name'][:60]!r}", part["frame"]
        if part["left"] < left - 1 or part["right"] > right + 1:
            wrong.append(
                f"{name} is at {part['left']:.0f} to {part['right']:.0f} pixels, the output at"
                f" {left:.0f} to {right:.0f}"
            )
        if part["picture"] and any(
            a < b for a, b in zip(part["picture"], SMALLEST_PICTURE, strict=True)
        ):
            wrong.append(f"{name} has {part['picture']} pixels")
        if part["scale"] < SMALLEST_SCALE:
            wrong.append(f"{name} is shrunk to {part['scale']:.0%}")
        if part["track"] is not None and part["track"] < SHORTEST_TRACK:
            wrong.append(f"the track of {name} has {part['track']:.0f} pixels")
        wrong += [f"{text!r} is cut off" for text in part["cut"]]
    for one, two in itertools.combinations(parts, 2):
        across = min(one["right"], two["right"]) - max(one["left"], two["left"])
        down = min(one["bottom"], two["bottom"]) - max(one["top"], two["top"])
        if across > 2 and down > 2:
            wrong.append(f"{one['name'][:40]!r} and {two['name'][:40]!r} overlap")
    return wrong


def faint(output: Locator) -> list[str]:
    """Texts of a panel whose contrast is too low. Disabled controls may be faint, and what styles
    of buttons look like is the theme's affair.
    """
    return [
        f"{text['text'][:60]!r} has a contrast of {ratio:.1f}"
        for text in output.evaluate(_TEXTS)
        if (ratio := contrast(text["colour"], text["ground"])) < LOWEST_CONTRAST
    ]


def nameless(output: Locator) -> list[str]:
    """Controls of a panel that a screen reader could not tell apart."""
    named = re.compile(r"\w")
    counts = {
        role: output.get_by_role(role).count() - output.get_by_role(role, name=named).count()
        for role in ("button", "slider", "checkbox", "combobox", "spinbutton", "textbox")
    }
    return [f"{count} of role {role} without a name" for role, count in counts.items() if count]


def contrast(one: list[float], two: list[float]) -> float:
    """The contrast ratio of two sRGB colours, 1 to 21 (Web Content Accessibility Guidelines 2.2).

    Args:
        one, two: red, green and blue, 0 to 255.
    """
    high, low = sorted((_luminance(one), _luminance(two)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: list[float]) -> float:
    linear = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (channel / 255 for channel in colour)
    )
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
