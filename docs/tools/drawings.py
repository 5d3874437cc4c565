"""Draws the pictures of docs/how_it_works.md: ``python docs/tools/drawings.py`` writes ``docs/how_*.svg``.

Their colours follow the reader's: `STYLE` has those for a light ground and, behind ``prefers-color-scheme``, for a dark
one. Lengths are pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1]
STYLE = """
  text { font: 15px system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif; fill: #1b2423; text-anchor: middle }
  .code { font: 13px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #46605c }
  .small { font-size: 13px; fill: #566865 } .left { text-anchor: start } .strong { font-weight: 650 }
  rect { stroke-width: 1.4; rx: 7px }
  .conv { fill: #d6efeb; stroke: #5aa79e } .attention { fill: #e9e0f8; stroke: #9a80cf }
  .other { fill: #eef1f0; stroke: #a3b1af } .data { fill: #fdf0d5; stroke: #d3a94e }
  .group { fill: none; stroke: #a3b1af; stroke-dasharray: 5 4 }
  .cell { fill: none; stroke: #b9c4c2; stroke-width: 1; rx: 0 }
  .window { fill: none; stroke: #0b7a75; stroke-width: 2.4; rx: 0 }
  .query { fill: #0b7a7540; stroke: #0b7a75; stroke-width: 2.4; rx: 0 }
  .key { fill: #9a80cf38; stroke: #7d5fc0; stroke-width: 2.4; stroke-dasharray: 6 4; rx: 0 }
  .torn { fill: #d3a94e55; stroke: #b98a25; stroke-width: 2.4; rx: 0 }
  path { fill: none; stroke: #6b7c79; stroke-width: 1.6 } .head { fill: #6b7c79; stroke: none }
  circle { fill: none; stroke: #6b7c79; stroke-width: 1.6 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6eeec } .code { fill: #a5c4bf } .small { fill: #a3b5b2 }
    .conv { fill: #17403c; stroke: #4fa89e } .attention { fill: #382b57; stroke: #9a80cf }
    .other { fill: #2a3333; stroke: #71827f } .data { fill: #4a3b17; stroke: #c29a45 }
    .group { stroke: #71827f } .cell { stroke: #4d5b59 } .window, .query { stroke: #4cc9bd }
    .query { fill: #4cc9bd40 } .key { fill: #9a80cf40; stroke: #b59ae6 } .torn { fill: #c29a4555; stroke: #d8b25c }
    path, circle { stroke: #93a5a2 } .head { fill: #93a5a2 }
  }
"""
HEIGHT, GAP = 62, 26  # of a box; between two
NOTE = 49  # from the middle of a box down to what is said below it


class Drawing:
    """An SVG picture, to which parts are added."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.width, self.height, self.title = width, height, title
        self.parts: list[str] = []

    def text(self, x: float, y: float, words: str, kind: str = "") -> None:
        self.parts.append(f'<text x="{x:g}" y="{y:g}" class="{kind}">{escape(words)}</text>')

    def rect(self, x: float, y: float, width: float, height: float, kind: str) -> None:
        self.parts.append(f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" class="{kind}"/>')

    def box(self, x: float, y: float, width: float, title: str, code: str, kind: str, height: float = HEIGHT) -> None:
        """A box with a title and, below it, names in the code; its middle line is at ``y``."""
        height = max(height, 26 + 19 * (code.count("\n") + 2)) if "\n" in code else height
        self.rect(x, y - height / 2, width, height, kind)
        lines = [(title, "strong"), *((line, "code") for line in code.split("\n") if line)]
        for i, (line, style) in enumerate(lines):
            self.text(x + width / 2, y + 5 + 19 * (i - (len(lines) - 1) / 2), line, style)

    def line(self, *points: tuple[float, float], arrow: bool = True) -> None:
        """A line through points, with an arrow's head at its end."""
        self.parts.append(f'<path d="M{" L".join(f"{x:g} {y:g}" for x, y in points)}"/>')
        (x0, y0), (x, y) = points[-2:]
        if arrow:
            back, side = (x - 8 * ((x > x0) - (x < x0)), y - 8 * ((y > y0) - (y < y0))), 4
            a, b = ((0, side), (0, -side)) if y == y0 else ((side, 0), (-side, 0))
            corners = ((x, y), (back[0] + a[0], back[1] + a[1]), (back[0] + b[0], back[1] + b[1]))
            self.parts.append(f'<path class="head" d="M{" L".join(f"{x:g} {y:g}" for x, y in corners)}Z"/>')

    def plus(self, x: float, y: float) -> None:
        """A sum: its circle has a radius of 11."""
        self.parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="11"/>')
        self.line((x - 6, y), (x + 6, y), arrow=False)
        self.line((x, y - 6), (x, y + 6), arrow=False)

    def grid(self, x: float, y: float, side: int, cell: int) -> None:
        """The lines between cells of a square."""
        steps = range(0, side + 1, cell)
        lines = [f"M{x + step:g} {y:g}v{side}M{x:g} {y + step:g}h{side}" for step in steps]
        self.parts.append(f'<path class="cell" d="{"".join(lines)}"/>')

    def row(
        self,
        x: float,
        y: float,
        boxes: Sequence[tuple[int, str, str, str] | None],
        gap: float = GAP,
        notes: Mapping[int, str] = {},
    ) -> list[float]:
        """Boxes (width, title, code, kind) from left to right with arrows between, None for a sum; their left sides.

        Below the boxes whose numbers ``notes`` has, stands what it says of them.
        """
        lefts = []
        for i, box in enumerate(boxes):
            if i:
                self.line((x, y), (x + gap, y))
                x += gap
            lefts.append(x)
            if box is None:
                self.plus(x + 11, y)
                x += 22
            else:
                self.box(x, y, *box)
                x += box[0]
        for i, note in notes.items():
            if box := boxes[i]:
                self.text(lefts[i] + box[0] / 2, y + NOTE, note, "small")
        return [*lefts, x]

    def around(self, x: float, y: float, to: float, height: float) -> None:
        """A connection that leaves a row at ``x``, goes around above it, and comes down into the sum at ``to``."""
        self.line((x, y), (x, y - height), (to, y - height), (to, y - 11))

    def svg(self) -> str:
        size = f'viewBox="0 0 {self.width} {self.height}" width="{self.width}" height="{self.height}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n<title>{escape(self.title)}</title>\n'
        return f"{head}<style>{STYLE}</style>\n" + "\n".join(self.parts) + "\n</svg>\n"


def network() -> Drawing:
    """HAT from the image to the enlarged image."""
    d = Drawing(900, 250, "HAT: shallow features, residual hybrid attention groups, reconstruction")
    y = 130
    boxes = [
        (60, "LR", "", "data"),
        (104, "conv 3×3", "conv_first", "conv"),
        (88, "RHAG", "layers[0]", "attention"),
        (88, "RHAG", "layers[5]", "attention"),
        (142, "norm, conv 3×3", "norm\nconv_after_body", "conv"),
        None,
        (174, "convs, pixel shuffle", "conv_before_upsample\nupsample, conv_last", "conv"),
        (60, "SR", "", "data"),
    ]
    lefts = d.row(8, y, boxes, 20)
    d.text(lefts[3] - 10, y - 9, "…")
    d.around(lefts[1] + 104 + 8, y, lefts[5] + 11, 70)
    for first, last, words, code in (
        (1, 1, "shallow features", ""),
        (2, 4, "deep features", "forward_features"),
        (6, 6, "reconstruction", "reconstruct"),
    ):
        left, right = lefts[first], lefts[last] + (boxes[last] or (22,))[0]
        d.line((left, y + 48), (left, y + 56), (right, y + 56), (right, y + 48), arrow=False)
        d.text((left + right) / 2, y + 76, words, "small")
        d.text((left + right) / 2, y + 95, code, "code")
    return d


def group() -> Drawing:
    """A residual hybrid attention group."""
    d = Drawing(900, 190, "RHAG: hybrid attention blocks, an overlapping cross-attention block, a convolution")
    y = 100
    boxes = [
        (118, "HAB", "blocks[0]", "attention"),
        (118, "HAB, shifted", "blocks[1]", "attention"),
        (118, "HAB, shifted", "blocks[5]", "attention"),
        (126, "OCAB", "overlap_attn", "attention"),
        (104, "conv 3×3", "conv", "conv"),
        None,
    ]
    d.line((12, y), (70, y))
    lefts = d.row(70, y, boxes, 30)
    d.text(lefts[2] - 15, y - 9, "…")
    right = lefts[3] + 126 + 14
    d.rect(56, y - 46, right - 56, 118, "group")
    d.text((56 + right) / 2, y + 58, "residual_group", "code")
    d.around(30, y, lefts[5] + 11, 74)
    d.line((lefts[5] + 22, y), (888, y))
    return d


def blocks() -> Drawing:
    """HAB and what is in it."""
    d = Drawing(900, 390, "HAB: window attention beside a channel attention block, then an MLP")
    y, below = 110, 84
    d.text(12, 24, "HAB", "strong left")
    d.line((12, y), (66, y))
    lefts = d.row(66, y, [(80, "norm", "norm1", "other"), (210, "(S)W-MSA", "attn: WindowAttention", "attention")], 64)
    fork, left, right = lefts[1] - 34, lefts[1], lefts[2]
    plus = right + 86
    d.line((fork, y), (fork, y + below), (left, y + below))
    d.box(left, y + below, 210, "CAB", "conv_block", "conv")
    d.line((right, y), (plus - 11, y))
    d.line((right, y + below), (plus, y + below), (plus, y + 11))
    d.text(right + 44, y + below - 8, "× α", "small")
    d.text(right + 50, y + below + 20, "conv_scale", "code")
    d.plus(plus, y)
    d.around(38, y, plus, 62)
    d.line((plus + 11, y), (plus + 56, y))
    lefts = d.row(plus + 56, y, [(84, "norm", "norm2", "other"), (100, "MLP", "mlp", "other"), None], 28)
    d.around(plus + 32, y, lefts[2] + 11, 62)
    d.line((lefts[2] + 22, y), (888, y))

    y = 318
    d.text(12, y - 52, "CAB", "strong left")
    d.line((12, y), (66, y))
    lefts = d.row(
        66,
        y,
        [
            (124, "conv 3×3", "C → C/β", "conv"),
            (84, "GELU", "", "other"),
            (124, "conv 3×3", "C/β → C", "conv"),
            (210, "channel attention", "ChannelAttention", "attention"),
        ],
        36,
    )
    d.line((lefts[4], y), (888, y))
    d.text(lefts[3] + 105, y + 54, "a factor for each channel, from the channels’ means", "small")
    return d


def overlapping() -> Drawing:
    """OCAB."""
    d = Drawing(900, 220, "OCAB: queries from a window, keys and values from a larger one")
    y = 122
    d.line((10, y), (52, y))
    lefts = d.row(52, y, [(68, "norm", "norm1", "other"), (68, "linear", "qkv", "other")], 18)
    x = lefts[2]
    d.line((x, y), (x + 14, y), arrow=False)
    for side in (-1, 1):
        d.line((x + 14, y), (x + 14, y + 37 * side), (x + 36, y + 37 * side))
    d.box(x + 36, y - 37, 178, "Q: windows M × M", "window_partition", "attention", 56)
    d.box(x + 36, y + 37, 178, "K, V: windows Mₒ × Mₒ", "overlapping_windows", "attention", 56)
    for side in (-1, 1):
        d.line((x + 214, y + 37 * side), (x + 230, y + 37 * side), (x + 230, y + 10 * side), (x + 250, y + 10 * side))
    lefts = d.row(x + 250, y, [(92, "attention", "attend", "attention"), (64, "linear", "proj", "other"), None], 18)
    d.around(26, y, lefts[2] + 11, 92)
    end = lefts[3]
    d.line((end, y), (end + 36, y))
    lefts = d.row(end + 36, y, [(102, "norm, MLP", "norm2, mlp", "other"), None], 18)
    d.around(end + 18, y, lefts[1] + 11, 56)
    d.line((lefts[1] + 22, y), (892, y))
    return d


def windows() -> Drawing:
    """How the same map is cut three times."""
    d = Drawing(900, 330, "Windows, shifted windows and overlapping windows on one map")
    side, cell, top = 240, 15, 36
    captions = (
        (30, "W-MSA", "windows of M × M pixels", "M is 4 here, and 16 in HAT"),
        (330, "SW-MSA", "the map rolled by M/2", "parts at the border pair up, masked apart"),
        (630, "OCA", "queries from M × M, keys from Mₒ × Mₒ", "Mₒ = (1 + γ) M; zeros beyond the border"),
    )
    for x, title, text, more in captions:
        d.text(x + side / 2, 22, title, "strong")
        d.grid(x, top, side, cell)
        d.text(x + side / 2, 298, text, "small")
        d.text(x + side / 2, 318, more, "small")
    for x in (30, 630):
        for i in range(4):
            for j in range(4):
                d.rect(x + 60 * i, top + 60 * j, 60, 60, "query" if (i, j) == (1, 1) else "window")
    edges = ((0, 30), (30, 60), (90, 60), (150, 60), (210, 30))
    for across, width in edges:
        for down, height in edges:
            torn = width == height == 30
            kind = "torn" if torn else "query" if (across, down) == (30, 30) else "window"
            d.rect(330 + across, top + down, width, height, kind)
    d.rect(630 + 45, top + 45, 90, 90, "key")
    return d


def step() -> Drawing:
    """The data's way through a training step."""
    d = Drawing(900, 560, "From the store through a training step to validation and checkpoint")
    y = 66
    d.text(12, 22, "in the worker processes", "small left")
    lefts = d.row(
        8,
        y,
        [
            (140, "store", "lmdb_store.py", "data"),
            (140, "decode", "reader.py", "other"),
            (180, "crop, flip, turn", "patches.py: Crop", "other"),
            (184, "LR", "stored, or made here", "other"),
            (124, "batch", "lq, gt", "data"),
        ],
        28,
        {0: "or a folder of images", 2: "by seed, epoch and image", 3: "bicubic_, degraded_dataset.py"},
    )

    y = 226
    d.line((lefts[4] + 62, 97), (lefts[4] + 62, 148), (83, 148), (83, y - HEIGHT / 2))
    d.text(450, 141, "feed_data, in which RealHAT models make the LR: degrading_model.py", "small")
    d.rect(2, y - 48, 896, 208, "group")
    row = d.row(
        8,
        y,
        [
            (150, "forward", "net_g(lq)", "attention"),
            (146, "losses", "pixel_opt, …", "other"),
            (150, "backward", "add_gradient", "other"),
            (166, "finite? clip", "clip_grad_norm", "other"),
            (160, "update", "optimizer_g.step", "conv"),
        ],
        28,
        {0: "precision", 2: "for each part: accumulate"},
    )
    d.text(row[3] + 61, y + NOTE, "else it is passed over", "small")  # left of the line down to the losses
    d.text(16, y + 148, "HATModel.optimize_parameters", "code left")
    x = row[4] + 80
    d.line((x, y + 31), (x, y + 78))
    d.box(row[4], y + 106, 160, "moving average", "model_ema", "conv", 56)
    d.line((row[3] + 150, y + 31), (row[3] + 150, y + 106), (row[2] + 150, y + 106))
    d.box(row[2] - 30, y + 106, 180, "losses, norms", "log_dict", "data", 56)

    y = 474
    d.line((x, 360), (x, 400), (120, 400), (120, y - HEIGHT / 2))
    d.line((510, 400), (510, y - HEIGHT / 2))
    d.text(132, y - 42, "after val: val_freq iterations", "small left")
    d.text(522, y - 42, "after logger: save_checkpoint_freq", "small left")
    d.box(8, y, 224, "validation", "validation.py, Upscaler", "attention")
    d.line((232, y), (262, y))
    d.box(262, y, 112, "metrics", "PSNR, SSIM", "data")
    d.box(430, y, 160, "checkpoint", "checkpoints.py", "conv")
    d.line((590, y), (622, y))
    d.box(622, y, 270, "models/net_g_*.pth", "training_states/*.state", "data")
    d.text(120, y + 52, "of the moving average, if there is one", "small")
    d.text(510, y + 52, "written, read back, renamed", "small")
    return d


PICTURES = {
    "how_network": network,
    "how_group": group,
    "how_blocks": blocks,
    "how_ocab": overlapping,
    "how_windows": windows,
    "how_step": step,
}
"""Name of the file → what draws it."""


def pictures() -> dict[Path, str]:
    """File → what it is to hold."""
    return {DOCS / f"{name}.svg": draw().svg() for name, draw in PICTURES.items()}


if __name__ == "__main__":
    for file, text in pictures().items():
        file.write_text(text, encoding="utf-8")
        print(file)
