"""Figures as images inside the page."""

from __future__ import annotations

import base64
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING

from bayesmlm.errors import BayesmlmError
from bayesmlm.report.pictures import Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figures", "png"]

DPI = 132
"""Dots per inch of figures: sharp on the page and in print."""

COLOURS = 256
"""Of an image.  Figures have a few colours and their blends: a palette takes a third of the room and changes nothing
that shows, if it is an octree's (median cut takes the colour of rare marks away)."""


def png(figure: Figure) -> bytes:
    """Draw a figure as a PNG with a palette.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> png(Figure(figsize=(1, 1)))[:4]
    b'\\x89PNG'
    """
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    # One pass: savefig would lay the figure out twice, which is most of the time.
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    octree, plain = Image.Quantize.FASTOCTREE, Image.Dither.NONE
    drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    image = drawn.quantize(COLOURS, method=octree, dither=plain)
    # An octree's white is a shade off.
    image.putpalette([255 if value == 254 else value for value in image.getpalette() or []])
    target = BytesIO()
    image.save(target, format="png", compress_level=7)
    return target.getvalue()


def figures(pictures: list[Picture], missing: list[str], model: str) -> str:
    """Draw pictures into the page; of those that cannot be drawn, and those left out, say why."""
    drawn, why = [], list(missing)
    for picture in pictures:
        try:
            drawn.append(_figure(picture, picture.draw(), model))
        except BayesmlmError as error:
            why.append(f"{picture.title}: {error}.")
    if why:
        items = "".join(f"<li>{escape(sentence)}</li>" for sentence in why)
        drawn.append(f'<p class="aside">Not drawn:</p><ul class="notes">{items}</ul>')
    return "".join(drawn)


def _figure(picture: Picture, figure: Figure, model: str) -> str:
    data = base64.b64encode(png(figure)).decode("ascii")
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    return (
        f'<figure><div class="scroll" role="region" aria-label="{escape(picture.title)}" tabindex="0">'
        f'<img alt="{escape(f"{picture.title} of {model}")}" width="{width}" height="{height}" '
        f'src="data:image/png;base64,{data}"></div>'
        f"<figcaption><b>{escape(picture.title)}.</b> {escape(picture.caption)}</figcaption></figure>"
    )
