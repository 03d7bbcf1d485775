"""The style sheet of the report: one column on a phone, light and dark by the reader's setting, system fonts only."""

from __future__ import annotations

CSS = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --raised: #f5f6f8; --ink: #14181f; --ink-2: #4a5260; --line: #dfe3e8;
  --series-1: #1f6fd6; --series-2: #d2602a; --series-3: #13856b; --series-4: #8a5bd1;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #101318; --raised: #191e25; --ink: #e8ecf1; --ink-2: #a8b1bd; --line: #2c333d;
    --series-1: #6fa8ff; --series-2: #f2935f; --series-3: #4cc2a0; --series-4: #b797f2;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--ink); overflow-wrap: break-word;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
.column { max-width: 62rem; margin: 0 auto; padding: 0 1.25rem 4rem; }
header { padding: 3rem 0 0; }
h1 {
  font-size: clamp(1.7rem, 5vw, 2.5rem); line-height: 1.15; letter-spacing: -0.02em;
  margin: 0 0 0.9rem; text-wrap: balance;
}
h2 { font-size: 1.3rem; line-height: 1.25; letter-spacing: -0.01em; margin: 0 0 0.7rem; }
h3 { font-size: 1rem; margin: 1.6rem 0 0.2rem; }
p { margin: 0 0 0.8rem; max-width: 44rem; text-wrap: pretty; }
.lead { font-size: 1.1rem; color: var(--ink-2); }
.note { color: var(--ink-2); font-size: 0.9rem; }
section { padding-top: 2.6rem; }
a { color: var(--series-1); text-decoration-thickness: 1px; text-underline-offset: 3px; }
nav { border-block: 1px solid var(--line); margin-top: 1.6rem; padding: 0.6rem 0; font-size: 0.9rem; }
nav ul { display: flex; flex-wrap: wrap; gap: 0.2rem 1.3rem; list-style: none; margin: 0; padding: 0; }
nav a { color: var(--ink-2); text-decoration: none; }
nav a:hover, nav a:focus { color: var(--ink); text-decoration: underline; }
code, pre, .code {
  font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: 0.86em;
}
pre {
  background: var(--raised); border-radius: 8px; padding: 0.8rem 1rem; overflow-x: auto;
  line-height: 1.45; margin: 0.6rem 0;
}

.highlights {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: 0.9rem;
  margin: 1.6rem 0 0;
}
.highlights > div {
  background: var(--raised); border-radius: 10px; padding: 0.9rem 1.1rem 1rem; display: flex;
  flex-direction: column;
}
.highlights dt { color: var(--ink-2); font-size: 0.88rem; }
.highlights dd { margin: 0; }
.highlights .value {
  font-size: 1.75rem; font-weight: 650; letter-spacing: -0.02em; font-variant-numeric: tabular-nums;
  line-height: 1.3;
}

.facts { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; margin: 0 0 0.8rem; }
.facts dt, .facts dd { padding: 0.36rem 0; border-bottom: 1px solid var(--line); margin: 0; overflow-wrap: anywhere; }
.facts dt { color: var(--ink-2); padding-right: 1.6rem; }
.word { display: inline-block; max-width: 100%; }
details { margin: 0.5rem 0; }
summary { cursor: pointer; color: var(--ink-2); padding: 0.2rem 0; }
summary:hover { color: var(--ink); }

.wide { overflow-x: auto; margin: 0.3rem 0 0.6rem; }
table { border-collapse: collapse; width: 100%; font-size: 0.92rem; }
th, td {
  padding: 0.48rem 0.9rem 0.48rem 0; text-align: left; border-bottom: 1px solid var(--line);
  vertical-align: baseline;
}
th:last-child, td:last-child { padding-right: 0; }
thead th { color: var(--ink-2); font-weight: 500; font-size: 0.86rem; border-bottom-color: var(--ink-2); }
tbody th { font-weight: 500; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.code, th.code { white-space: nowrap; font-weight: 400; }
thead th.code { font-family: inherit; font-size: 0.86rem; }
.plan { max-height: 27rem; overflow: auto; border: 1px solid var(--line); border-radius: 8px; padding: 0 0.9rem; }
.plan tr:last-child > * { border-bottom: 0; }
.plan .wide { overflow-x: visible; margin: 0; }
.plan table { font-size: 0.84rem; }
.plan thead th { position: sticky; top: 0; background: var(--page); box-shadow: inset 0 -1px var(--ink-2); }

.pixels {
  image-rendering: pixelated; display: block; width: 100%; height: auto; background: #fff;
  border-radius: 2px;
}
.pixels.fine { image-rendering: auto; }
.whole { margin: 0.8rem 0; }
.shares { width: auto; }
.shares .number { padding-left: 2.4rem; }
.heat { position: relative; padding-right: 0.6rem !important;
  background: color-mix(in srgb, var(--series-1) calc(var(--share) * 0.55), transparent); }
.strips { display: grid; gap: 1.1rem; margin: 0.4rem 0 0.9rem; }
.strip { display: grid; grid-template-columns: 10rem 1fr; gap: 0 1.2rem; align-items: center; }
.strip figcaption { font-weight: 600; line-height: 1.3; overflow-wrap: anywhere; }
.strip figcaption small { display: block; color: var(--ink-2); font-weight: 400; font-size: 0.82rem; }
figure { margin: 0; }
.images { display: grid; grid-template-columns: repeat(var(--n, 10), 1fr); gap: 3px; }

.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)); gap: 0.6rem 1.6rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); gap: 0 1.6rem; }
.charts h3 { margin-top: 1.2rem; }
.panels svg { display: block; width: 100%; height: auto; }
.panels svg text { font-family: inherit !important; }
.panels svg path { stroke-linejoin: round; stroke-linecap: butt; }
.keys {
  display: flex; flex-wrap: wrap; gap: 0.2rem 1.4rem; list-style: none; padding: 0;
  margin: 0.3rem 0 0.5rem; font-size: 0.9rem;
}
.keys line { stroke-linecap: butt; }
.keys svg { width: 30px; height: 8px; margin-right: 0.5rem; vertical-align: middle; }

.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: 1rem; margin: 0.8rem 0; }
.pair > div { display: grid; grid-template-columns: 1fr 1fr; gap: 3px; }
.pair figcaption { color: var(--ink-2); font-size: 0.84rem; font-variant-numeric: tabular-nums; margin-top: 0.25rem; }

.bars {
  display: grid; grid-template-columns: minmax(8rem, max-content) 1fr max-content; gap: 0.5rem 1rem;
  align-items: center; margin: 0.8rem 0;
}
.bars .row { display: contents; }
.bars .bar { height: 0.9rem; border-radius: 0 3px 3px 0; background: var(--series-1); }
.bars .bar.first { background: var(--ink-2); }
.bars .amount { font-variant-numeric: tabular-nums; text-align: right; }
.bars small { color: var(--ink-2); }
.limits li { margin-bottom: 0.4rem; max-width: 44rem; }
footer {
  margin-top: 3rem; padding-top: 0.9rem; border-top: 1px solid var(--line); color: var(--ink-2);
  font-size: 0.85rem;
}

@media (max-width: 40rem) {
  .strip { grid-template-columns: 1fr; gap: 0.35rem; }
  .strip figcaption small { display: inline; margin-left: 0.4rem; }
  .images { grid-template-columns: repeat(min(var(--n, 10), 5), 1fr); }
  .highlights { grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: 0.6rem; }
  .highlights > div { padding: 0.7rem 0.8rem; }
  .highlights .value { font-size: 1.35rem; }
  td.text { min-width: 8.5rem; }
  .facts { grid-template-columns: 1fr; }
  .facts dt { border-bottom: 0; padding-bottom: 0; font-size: 0.85rem; }
  .facts dd { padding-top: 0; }
  .bars { display: block; }
  .bars .row { display: grid; grid-template-columns: 1fr max-content; gap: 0.25rem 1rem; margin-bottom: 0.8rem; }
  .bars .bar-box { grid-row: 2; grid-column: 1 / -1; }
  th:first-child { position: sticky; left: 0; background: var(--page); }
  tbody th:first-child { box-shadow: inset 0 -1px var(--line); }  /* a border does not move along */
  thead th:first-child { box-shadow: inset 0 -1px var(--ink-2); }
  .plan th:first-child { position: static; box-shadow: none; }
  .plan thead th:first-child { position: sticky; left: auto; }
}
@media print { .plan { max-height: none; } nav { display: none; } }
"""
