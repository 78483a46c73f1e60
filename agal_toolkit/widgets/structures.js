// A map and a table of structures over one model of rows, which also holds what is chosen.
// The rows arrive with the model; later ones arrive as messages. Dropdowns, sorting, tooltips and
// choosing need no kernel, so they answer while a cell runs.

const STYLE = `
.agal-part {font: 12px var(--jp-ui-font-family, sans-serif); position: relative; max-width: 100%;
  color: var(--jp-ui-font-color1, currentColor); background: var(--jp-layout-color1, transparent);
  border: 1px solid var(--jp-border-color2, #9998); border-radius: 8px; padding: 6px;
  box-sizing: border-box; --chosen: var(--jp-brand-color1, #1976d2)}
.agal-part .bar {display: flex; flex-wrap: wrap; gap: 4px 10px; align-items: center;
  margin-bottom: 4px}
.agal-part select, .agal-part button.do {font: inherit; color: inherit; border-radius: 3px;
  background: var(--jp-layout-color2, transparent); padding: 2px 4px; max-width: 130px;
  border: 1px solid var(--jp-border-color1, #9998)}
.agal-part option {color: var(--jp-ui-font-color1, #000); background: var(--jp-layout-color1, #fff)}
.agal-part button.do:disabled {opacity: .5}
.agal-part canvas {display: block; position: absolute; inset: 0; touch-action: none}
.agal-part canvas:focus-visible, .agal-part .rows:focus-visible {outline: 2px solid var(--chosen)}
.agal-part .tip {position: absolute; pointer-events: none; z-index: 3; white-space: nowrap;
  background: var(--jp-layout-color0, #fff); color: var(--jp-ui-font-color0, #000);
  border: 1px solid var(--jp-border-color1, #999); border-radius: 4px; padding: 3px 6px}
.agal-part .rows {overflow: auto; position: relative; width: 100%; outline-offset: -2px}
.agal-part .line {display: grid; position: absolute; left: 0; height: 22px; align-items: center;
  box-sizing: border-box; cursor: default; border-left: 3px solid transparent; min-width: 100%}
.agal-part .line > * {padding: 0 6px; overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap; text-align: right}
.agal-part .line > .text {text-align: left}
.agal-part .line:hover {background: var(--jp-layout-color2, #9992)}
.agal-part .line[aria-selected=true] {background: color-mix(in srgb, var(--chosen) 22%, transparent)}
.agal-part .line.active {border-left-color: var(--chosen); font-weight: 600}
.agal-part .line.head {position: sticky; top: 0; z-index: 2; display: grid; width: max-content;
  background: var(--jp-layout-color1, #fff); border-bottom: 1px solid var(--jp-border-color1, #999)}
.agal-part .head button {font: inherit; font-weight: 600; color: inherit; border: 0; cursor: pointer;
  background: none}`;

const VIRIDIS = ["440154", "482878", "3e4989", "31688e", "26828e", "1f9e89", "35b779", "6ece58",
  "b5de2b", "fde725"].map(hex => [0, 2, 4].map(k => parseInt(hex.slice(k, k + 2), 16)));
const CYCLE = ["#2471a3", "#c0392b", "#1e8449", "#d68910", "#7d3c98", "#17a2b8", "#873600",
  "#7f8c8d"];
const GREY = "#8f8f8f", HEIGHT = 330, LINE = 22, LEFT = 56, BOTTOM = 40, TOP = 8, BAR = 84;

// -- the rows, shared by all parts on a page

const floats = view => new Float32Array(
  view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));

function decoded({count, columns}) {
  return {count, columns: columns.map(c => ({...c, values: floats(c.values)}))};
}

function grown(table, message, buffers) {
  const skip = table.count - message.from, columns = message.columns.map((column, k) => {
    const more = floats(buffers[k]), values = new Float32Array(message.from + more.length);
    values.set(table.columns[k].values.subarray(0, message.from));
    values.set(more, message.from);
    return {...column, values};
  });
  return skip < 0 ? null : {count: columns[0].values.length, columns};
}

async function shared(model) {
  const rows = await model.widget_manager.get_model(model.get("rows").slice(10));
  if (rows.agal) return rows;
  const state = rows.agal = {table: decoded(rows.get("columns")), views: new Set()};
  const tell = () => state.views.forEach(view => view());
  rows.on("change:columns", () => { state.table = decoded(rows.get("columns")); tell(); });
  rows.on("change:active change:selected", tell);
  rows.on("msg:custom", (message, buffers) => {
    if (message.type === "rows") {
      const table = grown(state.table, message, buffers);
      if (table) { state.table = table; tell(); } else rows.send({have: state.table.count});
    } else if (message.type === "file" && state.saving) {
      state.saving = false;
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([message.text], {type: "chemical/x-xyz"}));
      link.download = message.name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    }
  });
  rows.send({have: state.table.count});  // messages before this view are lost: ask for what is new
  return rows;
}

function choose(rows, active, selected) {
  rows.set("active", active);
  rows.set("selected", selected);
  rows.save_changes();
}

function toggled(rows, index) {
  const all = rows.get("selected");
  return all.includes(index) ? all.filter(k => k !== index) : [...all, index];
}

const named = column => column.unit ? `${column.name} (${column.unit})` : column.name;

function number(value) {
  if (Number.isNaN(value)) return "";
  if (Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  if (size && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
  return String(+value.toPrecision(4));
}

function shown(column, row) {
  return column.names ? column.names[column.values[row]] ?? "" : number(column.values[row]);
}

function html(tag, {parent, ...given}, ...inside) {
  const element = Object.assign(document.createElement(tag), given);
  element.append(...inside);
  parent?.append(element);
  return element;
}

function part(el, kind) {
  html("style", {parent: el, textContent: STYLE});
  return html("div", {parent: el, className: `agal-part agal-${kind}`});
}

// -- scales

function extent(values, low = 0, high = 1) {
  const finite = values.filter(Number.isFinite).sort();
  if (!finite.length) return [0, 1];
  const at = share => finite[Math.round(share * (finite.length - 1))];
  let [a, b] = [at(low), at(high)];
  if (a === b) [a, b] = [finite[0], finite.at(-1)];
  return a === b ? [a - 0.5, b + 0.5] : [a, b];
}

function ticks([a, b], most) {
  const raw = (b - a) / most, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find(m => m * power >= raw);
  const found = [];
  for (let k = Math.ceil(a / step - 1e-9); k * step <= b + 1e-9 * step; k++)
    found.push(+(k * step).toPrecision(6));
  return found;
}

function viridis(share) {
  const place = Math.min(Math.max(share, 0), 1) * (VIRIDIS.length - 1);
  const k = Math.min(Math.floor(place), VIRIDIS.length - 2), t = place - k;
  return `rgb(${VIRIDIS[k].map((c, i) => Math.round(c + t * (VIRIDIS[k + 1][i] - c)))})`;
}

// -- the map

function drawMap({model, el, rows}) {
  const root = part(el, "map"), controls = html("div", {parent: root, className: "bar"});
  const frame = html("div", {parent: root}), note = html("div", {parent: root});
  frame.style.cssText = `position:relative;height:${HEIGHT}px`;
  const [ground, top] = [0, 1].map(() => html("canvas", {parent: frame}));
  Object.assign(top, {tabIndex: 0, role: "img"});
  top.setAttribute("aria-label", "map of structures");
  const tip = html("div", {parent: frame, className: "tip", hidden: true});
  const selects = Object.fromEntries(["x", "y", "colour", "size"].map(name => {
    const select = html("select", {ariaLabel: name, onchange: () => {
      model.set(name, select.value);
      model.save_changes();
    }});
    controls.append(html("label", {}, `${name} `, select));
    return [name, select];
  }));
  let table, columns, box, zoom = null, lasso = null, width = 0, hovered = -1, places = [];

  function settle() {
    table = rows.agal.table;
    for (const [name, select] of Object.entries(selects)) {
      const usual = name === "size" ? ["equal"] : [];
      const fit = table.columns.filter(c => name === "colour" || !c.names).map(c => c.name);
      const options = [...usual, ...fit];
      if (options.join() !== select.options_) {
        select.replaceChildren(...options.map(value => html("option", {value}, value)));
        select.options_ = options.join();
      }
      const value = model.get(name);
      select.value = options.includes(value) ? value : options[0];
    }
    columns = Object.fromEntries(Object.entries(selects).map(
      ([name, select]) => [name, table.columns.find(c => c.name === select.value)]));
  }

  function geometry() {
    const padded = ([a, b]) => [a - 0.04 * (b - a), b + 0.04 * (b - a)];
    const span = zoom ?? {x: padded(extent(columns.x.values)), y: padded(extent(columns.y.values))};
    const w = Math.max(width - LEFT - BAR, 40), h = HEIGHT - TOP - BOTTOM;
    return {...span, w, h,
      px: v => LEFT + w * (v - span.x[0]) / (span.x[1] - span.x[0]),
      py: v => TOP + h * (span.y[1] - v) / (span.y[1] - span.y[0]),
      vx: p => span.x[0] + (p - LEFT) / w * (span.x[1] - span.x[0]),
      vy: p => span.y[1] - (p - TOP) / h * (span.y[1] - span.y[0])};
  }

  function context(canvas) {
    const ratio = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * ratio)) {
      Object.assign(canvas, {width: Math.round(width * ratio), height: HEIGHT * ratio});
      Object.assign(canvas.style, {width: `${width}px`, height: `${HEIGHT}px`});
    }
    // painted by the processor, which is many times faster than a graphics card in software
    const pen = canvas.getContext("2d", {willReadFrequently: true});
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, HEIGHT);
    pen.font = getComputedStyle(root).font;
    return pen;
  }

  function draw() {
    width = frame.clientWidth;
    if (!width || !table.columns.length) return;
    const started = performance.now(), ink = getComputedStyle(root).color, pen = context(ground);
    box = geometry();
    const {x, y, colour, size} = columns;
    pen.fillStyle = pen.strokeStyle = ink;
    pen.globalAlpha = 0.15;
    const [across, upward] = [ticks(box.x, Math.max(box.w / 70, 2)), ticks(box.y, 6)];
    pen.beginPath();
    across.forEach(t => { pen.moveTo(box.px(t), TOP); pen.lineTo(box.px(t), TOP + box.h); });
    upward.forEach(t => { pen.moveTo(LEFT, box.py(t)); pen.lineTo(LEFT + box.w, box.py(t)); });
    pen.stroke();
    pen.globalAlpha = 1;
    pen.strokeRect(LEFT, TOP, box.w, box.h);
    pen.textAlign = "center";
    across.forEach(t => pen.fillText(number(t), box.px(t), TOP + box.h + 15));
    pen.fillText(named(x), LEFT + box.w / 2, HEIGHT - 6);
    pen.textAlign = "right";
    upward.forEach(t => pen.fillText(number(t), LEFT - 5, box.py(t) + 4));
    pen.save();
    pen.translate(11, TOP + box.h / 2);
    pen.rotate(-Math.PI / 2);
    pen.textAlign = "center";
    pen.fillText(named(y), 0, 0);
    pen.restore();
    const [low, high] = extent(colour.values, 0.02, 0.98), [small, large] =
      size ? extent(size.values, 0.02, 0.98) : [0, 1];
    const paint = colour.names ? v => CYCLE[v % CYCLE.length]
      : v => Number.isNaN(v) ? GREY : viridis((v - low) / (high - low));
    pen.save();
    pen.beginPath();
    pen.rect(LEFT, TOP, box.w, box.h);
    pen.clip();
    pen.lineWidth = 0.6;
    pen.strokeStyle = getComputedStyle(root).backgroundColor;
    places = [];
    for (let k = 0; k < table.count; k++) {
      const px = box.px(x.values[k]), py = box.py(y.values[k]);
      places.push([px, py]);
      if (Number.isNaN(px + py)) continue;
      const share = size ? (size.values[k] - small) / (large - small) : 0.2;
      pen.fillStyle = paint(colour.values[k]);
      pen.beginPath();
      pen.arc(px, py, 2.5 + 5 * Math.min(Math.max(share || 0, 0), 1), 0, 2 * Math.PI);
      pen.fill();
      pen.stroke();
    }
    pen.restore();
    drawBar(pen, ink, colour, [low, high]);
    mark();
    root.dataset.drawn = (performance.now() - started).toFixed(1);
    root.dataset.count = table.count;
  }

  function drawBar(pen, ink, colour, [low, high]) {
    const left = LEFT + box.w + 14;
    pen.textAlign = "left";
    if (colour.names) {
      colour.names.slice(0, 18).forEach((name, k) => {
        pen.fillStyle = CYCLE[k % CYCLE.length];
        pen.fillRect(left - 4, TOP + 16 * k + 2, 9, 9);
        pen.fillStyle = ink;
        pen.fillText(name || "none", left + 9, TOP + 16 * k + 11, BAR - 26);
      });
      return;
    }
    for (let k = 0; k < 100; k++) {
      pen.fillStyle = viridis(1 - k / 99);
      pen.fillRect(left, TOP + box.h * k / 100, 12, box.h / 100 + 0.6);
    }
    pen.fillStyle = ink;
    const known = colour.values.filter(Number.isFinite).sort();
    const [least, most] = [known[0], known.at(-1)];
    for (const t of least === most ? [least] : ticks([low, high], 5)) {
      const place = TOP + box.h * (high - t) / (high - low);
      pen.fillText(number(t), left + 16, Math.min(Math.max(place + 4, TOP + 9), TOP + box.h));
    }
    pen.save();
    pen.translate(width - 3, TOP + box.h / 2);
    pen.rotate(-Math.PI / 2);
    pen.textAlign = "center";
    pen.fillText(named(colour), 0, 0, box.h);
    pen.restore();
    const cut = most > high || least < low;
    if (cut) pen.fillText("2 to 98 %", left - 8, TOP + box.h + 15);
  }

  function mark() {
    if (!box) return;
    const pen = context(top), ink = getComputedStyle(root).color;
    const chosen = getComputedStyle(root).getPropertyValue("--chosen").trim() || "#1976d2";
    const ring = (k, radius, colour, thick) => {
      const [px, py] = places[k] ?? [NaN, NaN];
      if (!(px >= LEFT - 1 && px <= LEFT + box.w + 1 && py >= TOP - 1 && py <= TOP + box.h + 1))
        return;
      Object.assign(pen, {strokeStyle: colour, lineWidth: thick});
      pen.beginPath();
      pen.arc(px, py, radius, 0, 2 * Math.PI);
      pen.stroke();
    };
    const {active, selected} = {active: rows.get("active"), selected: rows.get("selected")};
    selected.forEach(k => ring(k, 5, "#fff", 3));
    selected.forEach(k => ring(k, 5, "#e8590c", 1.8));
    if (active !== null) { ring(active, 9, "#fff", 5); ring(active, 9, "#d6006c", 2.5); }
    if (hovered >= 0) ring(hovered, 7, ink, 1.5);
    if (lasso?.length > 1) {
      Object.assign(pen, {strokeStyle: chosen, lineWidth: 1.5});
      pen.setLineDash([5, 3]);
      pen.beginPath();
      lasso.forEach(([px, py]) => pen.lineTo(px, py));
      pen.closePath();
      pen.stroke();
      pen.setLineDash([]);
    }
    note.textContent = `${table.count} structures, ${selected.length} chosen. Click, shift-click, ` +
      "draw around points; Ctrl and wheel zooms, double click resets.";
  }

  function nearest([px, py], reach = 10) {
    let best = -1, least = reach * reach;
    places.forEach(([a, b], k) => {
      const far = (a - px) ** 2 + (b - py) ** 2;
      if (far < least) [best, least] = [k, far];
    });
    return best;
  }

  function inside([px, py]) {
    let within = false;
    lasso.forEach(([ax, ay], k) => {
      const [bx, by] = lasso.at(k - 1);
      if ((ay > py) !== (by > py) && px < (bx - ax) * (py - ay) / (by - ay) + ax) within = !within;
    });
    return within;
  }

  function hover(at) {
    const now = at ? nearest(at) : -1;
    if (now === hovered) return;
    hovered = now;
    tip.hidden = now < 0;
    if (now >= 0) {
      const facts = table.columns.filter(c => shown(c, now) !== "");
      tip.replaceChildren(...facts.map(c =>
         html("div", {}, `${c.name}: ${shown(c, now)}${c.names ? "" : ` ${c.unit}`}`)));
      const right = at[0] > width / 2;
      tip.style.left = right ? "auto" : `${at[0] + 14}px`;
      tip.style.right = right ? `${width - at[0] + 14}px` : "auto";
      tip.style.top = `${Math.min(at[1], HEIGHT - tip.offsetHeight - 4)}px`;
    }
    mark();
  }

  const at = event => [event.offsetX, event.offsetY];
  top.onpointerdown = event => {
    if (event.button) return;
    top.setPointerCapture(event.pointerId);
    lasso = [at(event)];
  };
  top.onpointermove = event => {
    if (!lasso) return hover(at(event));
    const [px, py] = at(event), [qx, qy] = lasso.at(-1);
    if (Math.hypot(px - qx, py - qy) > 3) { lasso.push([px, py]); hover(null); mark(); }
  };
  top.onpointerup = event => {
    if (!lasso) return;
    const drawn = lasso, {active} = {active: rows.get("active")};
    if (drawn.length > 4) {
      const caught = places.flatMap((place, k) => inside(place) ? [k] : []);
      const all = event.shiftKey ? [...new Set([...rows.get("selected"), ...caught])] : caught;
      choose(rows, all.includes(active) ? active : caught[0] ?? active, all);
    } else {
      const index = nearest(drawn[0]);
      if (index >= 0) choose(rows, index, event.shiftKey ? toggled(rows, index) : [index]);
      else if (!event.shiftKey) choose(rows, active, []);
    }
    lasso = null;
    mark();
  };
  top.onpointercancel = () => { lasso = null; mark(); };
  top.onpointerleave = () => hover(null);
  top.ondblclick = () => { zoom = null; draw(); };
  top.addEventListener("wheel", event => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const factor = 1.0015 ** event.deltaY, [px, py] = at(event), x = box.vx(px), y = box.vy(py);
    zoom = {x: box.x.map(v => x + factor * (v - x)), y: box.y.map(v => y + factor * (v - y))};
    draw();
  }, {passive: false});
  top.onkeydown = event => stepped(event, rows, null);

  root.placeOf = row => places[row];  // for tests
  settle();
  draw();
  const change = () => {
    if (rows.agal.table !== table) { settle(); draw(); } else mark();
  };
  rows.agal.views.add(change);
  model.on("change:x change:y change:colour change:size", () => { zoom = null; settle(); draw(); });
  const resized = new ResizeObserver(() => { if (frame.clientWidth !== width) draw(); });
  resized.observe(frame);
  const themed = new MutationObserver(() => requestAnimationFrame(draw));
  themed.observe(document.body, {attributes: true, attributeFilter: ["data-jp-theme-name", "class"]});
  return () => { rows.agal.views.delete(change); resized.disconnect(); themed.disconnect(); };
}

function stepped(event, rows, order) {
  const step = {ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1}[event.key];
  if (!step) return;
  event.preventDefault();
  event.stopPropagation();
  const count = order?.length ?? rows.agal.table.count, active = rows.get("active");
  const place = order ? order.indexOf(active) : active ?? -1;
  const next = Math.min(Math.max(place + step, 0), count - 1);
  if (count) choose(rows, order ? order[next] : next, [order ? order[next] : next]);
}

// -- the table

function drawTable({model, el, rows}) {
  const root = part(el, "table"), controls = html("div", {parent: root, className: "bar"});
  const body = html("div", {parent: root, className: "rows", tabIndex: 0, role: "grid"});
  body.setAttribute("aria-label", "table of structures");
  body.style.height = `${HEIGHT + 20}px`;
  const head = html("div", {parent: body, className: "line head", role: "row"});
  const space = html("div", {parent: body}), few = html("input", {type: "checkbox"});
  controls.append(html("label", {}, few, " chosen only"));
  const save = html("button", {parent: controls, className: "do"}, "Download extxyz");
  const note = html("span", {parent: controls});
  let table, order = [], last = null, sizes = "", drawn = new Map();

  function settle() {
    table = rows.agal.table;
    const [name, descending] = [model.get("sort"), model.get("descending")];
    const column = table.columns.find(c => c.name === name);
    order = Array.from({length: table.count}, (_, k) => k);
    if (few.checked) { const chosen = new Set(rows.get("selected")); order = order.filter(k => chosen.has(k)); }
    if (column) {
      const value = column.names ? k => column.names[column.values[k]] ?? "" : k => column.values[k];
      const sign = descending ? -1 : 1;
      order.sort((a, b) => {
        const [one, two] = [value(a), value(b)], lost = (one !== one) - (two !== two);
        return lost || (one < two ? -sign : one > two ? sign : 0) || a - b;
      });
    }
    const widths = table.columns.map(c => Math.max(named(c).length + 1,
      ...order.slice(0, 200).map(k => Math.min(shown(c, k).length, 26))));
    sizes = widths.map(n => `${Math.max(n, 5) * 0.62 + 1.5}em`).join(" ");
    head.replaceChildren(...table.columns.map(c => {
      const arrow = c.name === name ? (descending ? " ▾" : " ▴") : "";
      const button = html("button", {onclick: () => sort(c.name), title: "sort"},
        named(c) + arrow);
      const cell = html("div", {role: "columnheader", className: c.names ? "text" : ""}, button);
      cell.ariaSort = arrow ? (descending ? "descending" : "ascending") : "none";
      return cell;
    }));
    head.style.gridTemplateColumns = sizes;
    space.style.height = `${LINE * order.length}px`;
    body.setAttribute("aria-rowcount", order.length + 1);
    root.dataset.count = table.count;
    drawn.forEach(line => line.remove());
    drawn.clear();
  }

  function sort(name) {
    const upward = name === "row" || table.columns.find(c => c.name === name).names;
    model.set("descending", name === model.get("sort") ? !model.get("descending") : !upward);
    model.set("sort", name);
    model.save_changes();
  }

  function draw() {
    const first = Math.max(0, Math.floor(body.scrollTop / LINE) - 6);
    const end = Math.min(order.length, first + Math.ceil(body.clientHeight / LINE) + 14);
    const [active, chosen] = [rows.get("active"), new Set(rows.get("selected"))];
    for (const [place, line] of drawn)
      if (place < first || place >= end) { line.remove(); drawn.delete(place); }
    for (let place = first; place < end; place++) {
      const row = order[place];
      let line = drawn.get(place);
      if (!line) {
        line = html("div", {parent: body, className: "line", role: "row"},
          ...table.columns.map(c => html("div",
            {role: "gridcell", className: c.names ? "text" : ""}, shown(c, row))));
        line.style.cssText = `top:${LINE * (place + 1) + 2}px;grid-template-columns:${sizes};` +
          `width:max-content`;
        line.dataset.row = row;
        line.ariaRowIndex = place + 2;
        line.onclick = event => click(event, place);
        drawn.set(place, line);
      }
      line.classList.toggle("active", row === active);
      line.setAttribute("aria-selected", chosen.has(row));
    }
    note.textContent = `${order.length} structures, ${chosen.size} chosen`;
    save.disabled = !chosen.size;
  }

  function click(event, place) {
    const row = order[place], from = last === null ? -1 : order.indexOf(last);
    if (event.shiftKey && from >= 0) {
      const range = order.slice(Math.min(from, place), Math.max(from, place) + 1);
      choose(rows, row, [...new Set([...rows.get("selected"), ...range])]);
    } else choose(rows, row, event.ctrlKey || event.metaKey ? toggled(rows, row) : [row]);
    if (!event.shiftKey) last = row;
  }

  function follow() {
    const place = order.indexOf(rows.get("active")), top = LINE * place;
    if (place < 0) return;
    last = last ?? order[place];
    if (top < body.scrollTop || top > body.scrollTop + body.clientHeight - 2 * LINE - 4)
      body.scrollTop = top - body.clientHeight / 2;
  }

  let seen;
  const change = () => {
    if (rows.agal.table !== table || few.checked) settle();
    if (seen !== rows.get("active")) { seen = rows.get("active"); last = seen; follow(); }
    draw();
  };
  body.onscroll = draw;
  body.onkeydown = event => stepped(event, rows, order);
  few.onchange = () => { settle(); draw(); };
  save.onclick = () => { rows.agal.saving = true; rows.send({save: true}); };
  settle();
  change();
  requestAnimationFrame(() => { follow(); draw(); });  // the page gives it a height first
  rows.agal.views.add(change);
  model.on("change:sort change:descending", () => { settle(); draw(); });
  const resized = new ResizeObserver(draw);
  resized.observe(body);
  return () => { rows.agal.views.delete(change); resized.disconnect(); };
}

export default {
  async render({model, el}) {
    const rows = await shared(model);
    return (model.get("part") === "map" ? drawMap : drawTable)({model, el, rows});
  },
};
