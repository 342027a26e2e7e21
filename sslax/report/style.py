"""The appearance of a report: the page's CSS, matplotlib's settings, and colours."""

from contextlib import AbstractContextManager

import matplotlib.style

# Paul Tol's "muted" scheme (personal.sron.nl/~pault), which people with common colour blindness can distinguish. Black
# replaces its tenth colour, which is too pale on white. With more than ten classes the shape of the marker changes too.
COLORS = (
    "#332288",
    "#88ccee",
    "#44aa99",
    "#117733",
    "#999933",
    "#ddcc77",
    "#cc6677",
    "#882255",
    "#aa4499",
    "#000000",
)
# Blue, vermilion and green from Okabe and Ito, and greys for reference lines.
BLUE, VERMILION, GREEN, DARK, GREY = "#0072b2", "#d55e00", "#009e73", "#24292f", "#808891"

# Figures and their legends have a white background in dark mode too, because their colours are chosen for white.
CSS = """
:root { color-scheme: light dark; --ink: #1f2328; --faint: #59636e; --rule: #e1e4e8; --page: #fff; --card: 0;
  --alarm: #b3261e; --alarm-page: #fdf0ee }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --faint: #a0a8b2; --rule: #353b43; --page: #17191d; --card: .75rem;
    --alarm: #ff9a8f; --alarm-page: #3b1f1d }
}
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem; color: var(--ink); background: var(--page);
  font: 1rem/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; overflow-wrap: anywhere;
  -webkit-text-size-adjust: 100% }
h1 { margin: 0; font-size: 1.75rem; line-height: 1.25 }
h2 { margin: 2.75rem 0 .75rem; font-size: 1.2rem; line-height: 1.3 }
p { margin: .5rem 0; max-width: 42rem; color: var(--faint); font-size: .9375rem }
.summary { color: var(--ink); font-size: 1.0625rem }
.alarm { margin: 1rem 0; padding: .5rem 1rem; border-left: .3rem solid var(--alarm); border-radius: 6px;
  max-width: 46rem; background: var(--alarm-page) }
.alarm p { color: var(--ink) }
.alarm strong { color: var(--alarm) }
figure { margin: 0; padding: var(--card); background: #fff; color: #1f2328; border-radius: 6px }
.map { max-width: 46rem }
.drawn { display: block; width: 100%; height: auto }
.pair { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)) }
.legend { display: flex; flex-wrap: wrap; gap: 0 1rem; margin: .5rem 0 0; padding: 0; list-style: none }
.legend.numbered { display: block; columns: 9rem auto }
.tiles { display: flex; flex-wrap: wrap; gap: 1rem; margin: .75rem 0 }
.tile { width: 6.5rem; padding: 0; font-size: .8125rem; line-height: 1.35; background: none; color: inherit }
.tile .view { margin-bottom: .25rem }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th { font-weight: inherit; text-align: left }
th, td { padding: .3rem 1.25rem .3rem 0; vertical-align: baseline }
tr { border-bottom: 1px solid var(--rule) }
thead th, .views th, .pairs th { color: var(--faint) }
thead, .views, .pairs, .legend { font-size: .875rem }
.result, .views { overflow-wrap: normal }
.number { text-align: right; padding: .3rem 0 .3rem 1.5rem }
.views tr { border: 0 }
.views td { padding: 0 .25rem .125rem 0 }
.views th { position: sticky; left: 0; padding: 0 .75rem 0 0; background: var(--page); vertical-align: middle;
  min-width: 4.75rem; max-width: 9rem; overflow-wrap: anywhere }
.view { display: block; width: var(--width); max-width: none; height: auto }
.crisp { image-rendering: pixelated }
.name { max-width: 15rem; min-width: 6rem; overflow-wrap: break-word }
.after { padding-left: 1.5rem }
.columns { columns: 2 24rem; column-gap: 2.5rem }
.columns .scroll { break-inside: avoid; margin-bottom: 1rem }
.pairs { width: 100%; max-width: 42rem }
.pairs th { overflow-wrap: break-word }
@media (max-width: 40rem) { .view { width: min(var(--width), 3.5rem) } .number { padding-left: .9rem } }
"""


def matplotlib_style() -> AbstractContextManager[None]:
    """matplotlib's defaults with a few changes, so that a user's matplotlibrc does not change the report."""
    own = {
        "font.size": 9.5,
        "text.color": DARK,
        "axes.labelcolor": DARK,
        "axes.edgecolor": "#8a9099",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 10.5,
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "grid.color": "#d9dce0",
        "grid.linewidth": 0.6,
        "xtick.color": "#57606a",
        "ytick.color": "#57606a",
        "lines.linewidth": 1.6,
        "lines.markersize": 3.5,
        "legend.frameon": False,
        "svg.hashsalt": "sslax",
        # Otherwise matplotlib merges all thumbnails into one image at 72 dots per inch.
        "image.composite_image": False,
    }
    return matplotlib.style.context(["default", own])
