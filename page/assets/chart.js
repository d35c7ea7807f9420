// Small charts of lines over the time of a run, as SVG. A chart is a slider to
// keyboards and screen readers: it goes from point to point.
const SVG = "http://www.w3.org/2000/svg";
const charts = [];
let marked = null; // the second that all charts point at, null for none

function clock(s) {
  s = Math.round(s);
  const two = n => String(n).padStart(2, "0"), h = Math.floor(s / 3600);
  return (h ? h + ":" : "") + two(Math.floor(s / 60) % 60) + ":" + two(s % 60);
}

function niceTop(max) {
  if (!(max > 0)) return 1;
  const unit = 10 ** Math.floor(Math.log10(max));
  return [1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10].find(n => n * unit >= max * 0.9999) * unit;
}

function node(name, attributes, ...children) {
  const out = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) out.setAttribute(key, value);
  out.append(...children);
  return out;
}

class Chart {
  // lines: [{name, look, key}]; format makes a value's text; scale "log" offers one.
  constructor(host, { title, unit, lines, format, wide, log }) {
    Object.assign(this, { lines, format, unit, title, log: false, data: null });
    const head = el("header", {}, el("h3", {}, title), el("span", { class: "unit" }, unit));
    if (log) {
      this.toggle = el("button", { type: "button", class: "small", "aria-pressed": "false", "aria-label": "Logarithmic scale of " + title }, "log");
      this.toggle.addEventListener("click", () => { this.log = !this.log; this.toggle.setAttribute("aria-pressed", this.log); this.paint(); });
      head.append(this.toggle);
    }
    this.at = el("span", { class: "at" });
    head.append(this.at);
    this.values = lines.map(() => el("b"));
    this.items = lines.map((line, i) => el("li", {}, el("i", { class: line.look, "aria-hidden": "true" }), line.name + " ", this.values[i]));
    this.svg = node("svg", { role: "slider", tabindex: "0", "aria-label": `${title}, ${unit}, over time`, "aria-valuemin": 0 });
    this.figure = el("figure", { class: "card chart" + (wide ? " wide" : "") }, head, el("ul", { class: "legend" }, ...this.items), this.svg);
    host.append(this.figure);
    this.svg.addEventListener("pointermove", e => point(this.nearest(e.offsetX)));
    this.svg.addEventListener("pointerleave", () => point(null));
    this.svg.addEventListener("blur", () => point(null));
    this.svg.addEventListener("keydown", e => this.key(e));
    new ResizeObserver(() => this.paint()).observe(this.svg);
    charts.push(this);
  }

  // data: {t: [seconds], y: [[values or null] for each line], gap: seconds from point to point, until, now,
  // curve: [[s, value]] that goes on from the first line}.
  show(data) {
    this.data = data;
    this.figure.hidden = !data.curve && !data.y.some(y => y.some(v => v !== null));
    this.paint();
  }

  key(e) {
    const t = this.data ? this.data.t : [], i = marked === null ? t.length : t.indexOf(marked);
    const to = { ArrowLeft: i - 1, ArrowDown: i - 1, ArrowRight: i + 1, ArrowUp: i + 1, PageUp: i + 10, PageDown: i - 10, Home: 0, End: t.length - 1 }[e.key];
    if (e.key === "Escape") point(null);
    if (to === undefined || !t.length) return;
    e.preventDefault();
    point(t[Math.max(0, Math.min(t.length - 1, to))]);
  }

  nearest(px) {
    if (!this.data || !this.data.t.length || !this.x) return null;
    let best = null;
    for (const t of this.data.t) if (best === null || Math.abs(this.middle(t) - px) < Math.abs(this.middle(best) - px)) best = t;
    return best;
  }

  paint() {
    const d = this.data, box = this.svg.getBoundingClientRect(), w = box.width, h = box.height;
    if (!d || !w) return;
    const left = 52, right = w - 12, top = 12, bottom = h - 22;
    const all = [...d.y.flat(), ...(d.curve || []).map(c => c[1])].filter(v => v !== null && v !== undefined);
    let high = niceTop(Math.max(...all, 0)), low = 0;
    if (this.log) {
      const least = Math.min(...all.filter(v => v > 0));
      low = isFinite(least) ? 10 ** Math.floor(Math.log10(least)) : high / 10;
      high = Math.max(10 ** Math.ceil(Math.log10(high)), low * 10);
    }
    const until = Math.max(d.until, 1);
    this.x = t => left + (right - left) * t / until;
    this.middle = t => this.x(Math.min(t + d.gap / 2, until)); // of a point's span
    this.svg.setAttribute("viewBox", `0 0 ${w} ${h}`);
    const y = v => bottom - (bottom - top) * (this.log ? Math.log(Math.max(v, low) / low) / Math.log(high / low) : v / high);
    const parts = [];
    const yTicks = [];
    if (this.log) for (let v = low; v <= high * 1.001; v *= 10) yTicks.push(v); else for (let i = 0; i <= 4; i++) yTicks.push(high * i / 4);
    for (const v of yTicks) {
      parts.push(node("line", { class: v === low ? "axis" : "grid-line", x1: left, x2: right, y1: y(v), y2: y(v) }));
      parts.push(node("text", { x: left - 7, y: y(v) + 4, "text-anchor": "end" }, this.format(v, true)));
    }
    const room = until < 3600 ? 64 : 80; // pixels for a label
    const step = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400].find(s => until / s <= (right - left) / room) || Math.ceil(until / 6);
    for (let t = 0; t <= until; t += step) parts.push(node("text", { x: this.x(t), y: h - 5, "text-anchor": t === 0 ? "start" : this.x(t) > right - 16 ? "end" : "middle" }, clock(t)));
    const drawn = [];
    this.lines.forEach((line, i) => {
      const curve = i === 0 ? d.curve : null, any = curve || d.y[i].some(v => v !== null);
      this.items[i].hidden = !any;
      // A line of what should not be there is drawn where it is.
      if (any && (line.look !== "d" || curve || d.y[i].some(v => v > 0))) drawn.unshift(node("path", { class: line.look, d: path(d.t.map((t, j) => [t, d.y[i][j]]), this.middle, y, d.gap) + (curve ? path(curve, this.x, y) : "") }));
    });
    parts.push(...drawn); // the first line on top
    if (d.now !== null && d.now >= 0 && d.now <= until) {
      parts.push(node("line", { class: "now", x1: this.x(d.now), x2: this.x(d.now), y1: top - 2, y2: bottom }));
      parts.push(node("text", { class: "now-text", x: Math.min(this.x(d.now) + 4, right - 24), y: top - 3 }, "now"));
    }
    this.cross = node("line", { class: "hover", y1: top, y2: bottom, visibility: "hidden" });
    this.svg.replaceChildren(...parts, this.cross);
    this.point();
  }

  // point shows the values of the marked second, else the newest.
  point() {
    const d = this.data;
    if (!d || !this.cross) return;
    const i = marked === null ? d.t.length - 1 : d.t.indexOf(marked);
    this.at.textContent = i < 0 ? "" : (marked === null ? "newest, " : "") + clock(d.t[i]);
    this.lines.forEach((line, n) => {
      const v = i < 0 ? null : d.y[n][i];
      this.values[n].textContent = v === null || v === undefined ? "–" : this.format(v);
      if (line.key && v !== null && v !== undefined) Object.assign(this.values[n].dataset, { k: `series@${d.t[i]}.${line.key}`, f: line.form }); else delete this.values[n].dataset.k;
    });
    this.cross.setAttribute("visibility", marked !== null && i >= 0 ? "visible" : "hidden");
    if (i >= 0) for (const end of ["x1", "x2"]) this.cross.setAttribute(end, this.middle(d.t[i]));
    const last = d.t.length ? d.t[d.t.length - 1] : 0;
    this.svg.setAttribute("aria-valuemax", last);
    this.svg.setAttribute("aria-valuenow", i >= 0 ? d.t[i] : 0);
    this.svg.setAttribute("aria-valuetext", i < 0 ? "no point yet" : `${clock(d.t[i])}: ` + this.lines.map((line, n) => `${line.name} ${this.values[n].textContent}`).join(", ") + " " + this.unit);
  }
}

function point(t) { marked = t; for (const c of charts) c.point(); }

// path leaves a gap where a value is missing, or where the next point is farther away than gap seconds.
function path(points, x, y, gap = Infinity) {
  let out = "", open = false, before = null;
  points.forEach(([t, v], i) => {
    if (v === null || v === undefined) { open = false; return; }
    if (before !== null && t - before > gap * 1.5) open = false;
    const alone = !open && (i + 1 === points.length || points[i + 1][1] === null || points[i + 1][1] === undefined);
    out += `${open ? "L" : "M"}${x(t).toFixed(1)} ${y(v).toFixed(1)}` + (alone ? "h.1" : "");
    open = true; before = t;
  });
  return out;
}
