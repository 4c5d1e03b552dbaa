"""The style of the pages: colours for light and dark, for phones, and for paper."""

from __future__ import annotations

LIGHT = {
    "ink": "#1c2430",
    "soft": "#525c6b",
    "link": "#005a9c",
    "better": "#00694e",
    "worse": "#a33a22",
    "line": "#d9dde3",
    "paper": "#ffffff",
    "wash": "#f5f7f9",
    "best": "#e5f1f9",
    "ours": "#0072b2",
    "other": "#7b838e",
    "warn": "#d55e00",
}
"""Colours on white paper."""

DARK = {
    "ink": "#e8ebef",
    "soft": "#a9b2bf",
    "link": "#7cc4f5",
    "better": "#35c79a",
    "worse": "#f08a6a",
    "line": "#3a424e",
    "paper": "#15191f",
    "wash": "#1d232b",
    "best": "#17344a",
    "ours": "#56b4e9",
    "other": "#8a929d",
    "warn": "#f0a04b",
}
"""The same in the dark."""

TEXT = ("ink", "soft", "link", "better", "worse")
"""Colours that words have."""

BEHIND = ("paper", "wash", "best")
"""Colours that words stand on."""


def _variables(colours: dict[str, str]) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())


STYLE = (
    f"""
:root {{ color-scheme: light dark; {_variables(LIGHT)} }}
@media screen and (prefers-color-scheme: dark) {{ :root {{ {_variables(DARK)} }} }}
"""
    + """
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif;
  overflow-wrap: break-word; }
main { max-width: 1120px; margin: 0 auto; padding: 0 20px 80px; }
a { color: var(--link); }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
nav { position: sticky; top: 0; background: var(--paper); z-index: 1;
  border-bottom: 1px solid var(--line); }
nav div { max-width: 1120px; margin: 0 auto; padding: 8px 20px; display: flex;
  gap: 4px 18px; overflow-x: auto; white-space: nowrap; }
nav a { text-decoration: none; padding: 2px 0; }
nav a:hover { text-decoration: underline; }
h1 { font-size: 26px; line-height: 1.25; margin: 20px 0 10px; }
h2 { font-size: 21px; margin: 44px 0 6px; padding-top: 14px;
  border-top: 2px solid var(--line); scroll-margin-top: 40px; }
h3 { font-size: 17px; margin: 26px 0 6px; }
p { margin: 6px 0; max-width: 74ch; }
.soft { color: var(--soft); }
.front { display: grid; gap: 8px 32px; align-items: start;
  grid-template-columns: minmax(0, 1.15fr) minmax(0, 1fr); }
.front > figure { margin: 0; }
.front svg.map { max-height: 62vh; }
.front p { font-size: 17px; margin: 0 0 14px; }
.front p:last-child { border-left: 4px solid var(--warn); padding-left: 12px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(270px, 1fr));
  gap: 14px; margin: 16px 0; }
.card { background: var(--wash); border-radius: 8px; padding: 12px 16px; }
.card h3 { margin: 0 0 4px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 10px 0; font-variant-numeric: tabular-nums;
  font-size: 15px; }
th, td { padding: 4px 8px; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; vertical-align: top; }
th { color: var(--soft); font-weight: 600; white-space: normal; }
th:first-child, td:first-child { text-align: left; }
td small { display: block; color: var(--soft); font-size: 12px; }
td.best { background: var(--best); }
th.words, td.words { text-align: left; white-space: normal; min-width: 14ch; }
td.words:last-child { min-width: 26ch; }
tr.ours td:first-child { font-weight: 600; }
td.better { color: var(--better); } td.worse { color: var(--worse); }
.pictures { display: grid; gap: 8px 20px; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(280px, 100%), 1fr)); }
.tiles { display: grid; gap: 4px 14px; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); }
.tiles img { width: 100%; }
figure { margin: 8px 0; min-width: 0; }
figcaption { color: var(--soft); font-size: 14px; max-width: 62ch; }
figcaption.title { color: var(--ink); font-weight: 600; margin-bottom: 4px; }
img { max-width: 100%; height: auto; }
svg { width: 100%; height: auto; display: block; }
svg text { font-size: 12px; fill: var(--ink); }
svg .tick { fill: var(--soft); font-size: 11.5px; }
svg .tick.ours { fill: var(--ink); font-weight: 600; }
svg .name { font-size: 12.5px; }
svg .middle { text-anchor: middle; } svg .end { text-anchor: end; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .axis { stroke: var(--soft); fill: none; }
svg .zero { stroke: var(--soft); stroke-dasharray: 4 3; }
svg circle.ours { fill: var(--ours); } svg circle.other { fill: var(--other); }
svg .bar { stroke-width: 3; stroke-linecap: round; }
svg .bar.ours { stroke: var(--ours); opacity: .55; }
svg .bar.other { stroke: var(--other); opacity: .5; }
svg .points { stroke: var(--ours); stroke-width: 4; stroke-linecap: round;
  stroke-opacity: .35; fill: none; }
svg.map path { shape-rendering: crispEdges; }
svg .frame { stroke: var(--soft); stroke-width: 1; fill: none; }
svg .blank { fill: none; stroke: var(--other); stroke-width: 1; }
svg .scale { stroke: var(--ink); stroke-width: 2; fill: none; }
ul.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 2px 14px;
  margin: 4px 0; padding: 0; font-size: 14px; }
ul.legend rect { stroke: var(--other); stroke-width: 1; }
ul.legend svg { display: inline-block; width: 18px; height: 13px; margin-right: 6px;
  vertical-align: -1px; }
details { margin: 10px 0; }
summary { cursor: pointer; color: var(--link); padding: 4px 0; }
pre { background: var(--wash); padding: 12px; border-radius: 8px; overflow-x: auto;
  font-size: 13px; }
ul.standing { margin: 12px 0; padding-left: 18px; max-width: 74ch; }
ul.standing li { margin: 5px 0; }
.key { display: flex; flex-wrap: wrap; gap: 2px 18px; margin: 0 0 4px;
  font-size: 14px; }
.key svg { display: inline-block; width: 28px; height: 10px; vertical-align: middle;
  margin-right: 6px; }
.warn { border-left: 4px solid var(--warn); padding: 4px 12px;
  background: var(--wash); }
.bad { color: var(--worse); } .good { color: var(--better); }
@media (max-width: 700px) {
  main { padding: 0 14px 60px; }
  nav div { padding: 8px 14px; }
  h1 { font-size: 21px; margin: 12px 0 8px; }
  .front { grid-template-columns: minmax(0, 1fr); }
  .front svg.map { max-height: 40vh; }
  .front p { font-size: 16px; margin: 0 0 10px; }
  svg text, svg .name, svg .tick { font-size: 15px; }
  svg.map .tick { font-size: 18px; }
}
@media print {
  @page { margin: 14mm; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body { font-size: 10.5pt; }
  nav { display: none; }
  main { max-width: none; padding: 0; }
  figure, tr, .card, .front { break-inside: avoid; }
  h2, h3, summary { break-after: avoid; }
  .wide, pre { overflow: visible; }
  pre { white-space: pre-wrap; }
  th, td { padding: 2px 5px; white-space: normal; }
  table { font-size: 8.5pt; }
}
"""
)
