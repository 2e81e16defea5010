//! How a page looks, and the few lines of script that show values.
//!
//! The page says itself that nothing may be fetched (`default-src 'none'`). The script sets text
//! alone, never markup.

use super::html::escaped;

/// A whole page.
pub(super) fn page(title: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n{body}</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )
}

const STYLE: &str = "
  :root { color-scheme: light dark; --back: #f4f6f8; --card: #fff; --edge: #dfe4e9; --ink: #222a33;
    --dim: #5b6672; --grid: #e6e9ed; --note: #fff4e0; --bad: #b3261e; --heat: #1f6fb2;
    --c0: #1f6fb2; --c1: #c8590a; --c2: #7b8794; --c3: #2b8a3e; --c4: #9c36b5; --c5: #b08900 }
  @media (prefers-color-scheme: dark) { :root { --back: #14181d; --card: #1d232a; --edge: #323a44;
    --ink: #e3e8ed; --dim: #9aa6b2; --grid: #2b323b; --note: #3a2f1a; --bad: #ff8a80;
    --heat: #58b0f5; --c0: #58b0f5; --c1: #ff9d57; --c2: #9aa6b2; --c3: #69c97e; --c4: #d38be8;
    --c5: #e3c14d } }
  * { box-sizing: border-box }
  body { margin: 0; background: var(--back); color: var(--ink); font: 15px/1.5 system-ui,
    sans-serif }
  main { max-width: 1060px; margin: 0 auto; padding: 24px 16px 60px }
  h1 { font-size: 21px; margin: 0 0 2px; overflow-wrap: anywhere } h2 { font-size: 16px;
    margin: 0 0 8px }
  .sub { color: var(--dim); margin: 0 0 14px; overflow-wrap: anywhere }
  .note { background: var(--note); border-left: 4px solid #d98a1a; padding: 10px 14px;
    margin: 0 0 14px; border-radius: 4px }
  .cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); gap: 10px;
    margin: 0 0 16px }
  .card, section { background: var(--card); border: 1px solid var(--edge); border-radius: 8px }
  .card { padding: 10px 12px }
  .card b { display: block; font-size: 20px; font-weight: 600; white-space: nowrap }
  .card span, .says { color: var(--dim); font-size: 13px } .bad b { color: var(--bad) }
  .says { margin: 0 0 8px }
  section { padding: 14px 16px; margin: 0 0 16px }
  .wide { overflow-x: auto }
  table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
  td, th { padding: 4px 9px; text-align: right; border-bottom: 1px solid var(--grid);
    white-space: nowrap; font-weight: normal }
  th { color: var(--dim) } td:first-child, th:first-child { text-align: left; padding-left: 0 }
  table.words td { text-align: left; white-space: normal; overflow-wrap: anywhere;
    vertical-align: top }
  table.words td:first-child { width: 9em; color: var(--dim); overflow-wrap: normal }
  tr:last-child td { border-bottom: 0 }
  .plot { margin: 0 0 10px; padding: 0 0 0 64px }
  .legend { margin: 0 0 8px -64px; font-size: 13px; display: flex; flex-wrap: wrap; gap: 2px 16px }
  .key::before { content: ''; display: inline-block; width: 18px; height: 3px; margin: 0 6px 4px 0;
    background: var(--line) }
  .area { position: relative; border-left: 1px solid var(--dim); border-bottom: 1px solid
    var(--dim);
    touch-action: pan-y }
  .area svg { position: absolute; width: 100%; height: 100%; display: block; overflow: hidden }
  .area span { position: absolute; right: 100%; padding-right: 6px; font-size: 12px; line-height: 1;
    white-space: nowrap; color: var(--dim); transform: translateY(50%) }
  .area i { position: absolute; top: 0; bottom: 0; width: 1px; background: var(--ink); display:
    none }
  .steps { position: relative; height: 20px; font-size: 12px; color: var(--dim) }
  .steps span { position: absolute; transform: translateX(-50%); white-space: nowrap;
    padding-top: 3px }
  .steps span:first-child { transform: none } .steps .last { transform: translateX(-100%) }
  .tip { margin: 0 0 0 -64px; min-height: 20px; font-size: 13px; color: var(--dim);
    font-variant-numeric: tabular-nums }
  .grid { stroke: var(--grid) } .line { fill: none; stroke: var(--line); stroke-width: 2 }
  .grid, .line { vector-effect: non-scaling-stroke }
  .fill { fill: var(--line); stroke: none } .heat { fill: var(--heat) } .lost { fill: var(--bad) }
  .heat, .lost, .fill { shape-rendering: crispEdges }
  .c0 { --line: var(--c0) } .c1 { --line: var(--c1) } .c2 { --line: var(--c2) }
  .c3 { --line: var(--c3) } .c4 { --line: var(--c4) } .c5 { --line: var(--c5) }
  .bad { --line: var(--bad) }
  @media (max-width: 600px) { .odd { display: none } .plot { padding-left: 56px }
    .legend, .tip { margin-left: -56px } section { padding: 12px 10px } }
";

/// Shows the values beside the pointer, in all plots that share its axis.
const SCRIPT: &str = "
  'use strict';
  const plots = [...document.querySelectorAll('.plot')];
  for (const plot of plots) plot.points = JSON.parse(plot.dataset.points);
  const show = (plot, at) => {
    let best = null;
    for (const point of plot.points)
      if (!best || Math.abs(point[0] - at) < Math.abs(best[0] - at)) best = point;
    if (!best) return;
    plot.querySelector('.tip').textContent = best[1];
    const hair = plot.querySelector('.area i');
    hair.style.display = 'block';
    hair.style.left = 100 * best[0] + '%';
  };
  for (const plot of plots) {
    const area = plot.querySelector('.area');
    const move = event => {
      const box = area.getBoundingClientRect();
      const at = (event.clientX - box.left) / box.width;
      for (const other of plots)
        if (other === plot || (plot.dataset.axis && other.dataset.axis === plot.dataset.axis))
          show(other, at);
    };
    area.addEventListener('pointermove', move);
    area.addEventListener('pointerdown', move);
  }
";
