"""The page's style sheet: light and dark by the reader's preference, one column on a phone."""

STYLE = """
:root {
  --paper: #f5f6f8; --card: #ffffff; --ink: #1c2430; --soft: #5c6878; --line: #e1e5ea; --accent: #1f6fb2;
  --good: #1d7a4c; --good-back: #e1f4ea; --bad: #b3263a; --bad-back: #fde7ea; --row: #f0f5fa;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #0e1218; --card: #161b23; --ink: #dfe5ee; --soft: #93a0b2; --line: #2a323e; --accent: #6cb2ee;
    --good: #6fd6a0; --good-back: #12352a; --bad: #ff8f9e; --bad-back: #43191f; --row: #1b2430;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", Roboto, sans-serif;
}
main { max-width: 1180px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { margin: 0; font-size: 1.9rem; line-height: 1.2; letter-spacing: -0.01em; }
h2 { margin: 0 0 12px; font-size: 1.2rem; }
header > p { margin: 6px 0 0; color: var(--soft); }
dl { display: flex; flex-wrap: wrap; gap: 6px 32px; margin: 14px 0 20px; }
dt { color: var(--soft); font-size: 0.8rem; }
dd { margin: 0; overflow-wrap: anywhere; }
section, .card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; }
section { padding: 20px; margin: 16px 0; }
.note { margin: 10px 0 0; color: var(--soft); font-size: 0.88rem; max-width: 110ch; text-wrap: pretty; }

.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(180px, 1fr)); gap: 12px; }
.card { padding: 14px 16px; }
.what { color: var(--soft); font-size: 0.85rem; }
.value { font-size: 2rem; font-weight: 650; line-height: 1.25; font-variant-numeric: tabular-nums; }
.value small { font-size: 1rem; font-weight: 400; color: var(--soft); }
.hint { color: var(--soft); font-size: 0.82rem; }
.hint.up { color: var(--good); }
.hint.down { color: var(--bad); }

.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 10px; text-align: right; border-bottom: 1px solid var(--line); }
thead th { color: var(--soft); font-weight: 500; vertical-align: bottom; line-height: 1.25; min-width: 4.6em; }
tr > th:first-child {
  position: sticky; left: 0; background: var(--card); text-align: left; font-weight: 400; white-space: nowrap;
}
tr.group th { padding-top: 16px; color: var(--accent); font-weight: 600; }
tr.group span { position: sticky; left: 10px; }
.reserved th { font-weight: 400 !important; color: var(--soft) !important; font-size: 0.85rem; }
tr.main td, tr.main > th:first-child { background: var(--row); font-weight: 650; }
tr.floor td, tr.floor th { color: var(--soft); font-style: italic; }
td.below { color: var(--soft); font-weight: 400 !important; }

.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 20px; }
.charts.small { grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); gap: 12px; }
figure { margin: 0; }
img { display: block; width: 100%; height: auto; border-radius: 6px; }
.chart { max-width: 640px; }
figcaption { color: var(--soft); font-size: 0.8rem; margin-top: 3px; }

.legend { margin: 14px 0 18px; font-size: 0.88rem; color: var(--soft); }
.legend p { margin: 6px 0 0; }
.legend ul { margin: 4px 0 0; padding: 0; list-style: none; }
.bar { height: 12px; border-radius: 6px; max-width: 420px; }
.scans { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 500px), 1fr)); gap: 22px 26px; }
.scan header { display: flex; gap: 10px; align-items: center; overflow-wrap: anywhere; }
.scan p { margin: 3px 0 8px; color: var(--soft); font-size: 0.85rem; font-variant-numeric: tabular-nums; }
.tiles { display: grid; grid-template-columns: repeat(3, 1fr); gap: 8px; }
.badge { flex: none; padding: 1px 9px; border-radius: 99px; font-size: 0.8rem; background: var(--line); }
.badge.good { background: var(--good-back); color: var(--good); }
.badge.bad { background: var(--bad-back); color: var(--bad); }

pre { overflow-x: auto; margin: 0; padding: 12px; border-radius: 8px; background: var(--paper); font-size: 0.82rem; }
summary { margin: 12px 0 8px; cursor: pointer; color: var(--accent); }
@media (max-width: 560px) {
  main { padding: 18px 10px 40px; }
  section { padding: 14px 12px; }
  h1 { font-size: 1.45rem; }
  .cards { grid-template-columns: repeat(2, 1fr); gap: 8px; }
  .value { font-size: 1.5rem; }
  .tiles { grid-template-columns: repeat(2, 1fr); }
  th, td { padding: 5px 7px; }
}
@media print { section { break-inside: avoid; border: 0; } .scan { break-inside: avoid; } }
"""
