// What is shown of a view: of a run that goes, streamed, or of a result in a report.
const $ = id => document.getElementById(id);
const inReport = $("data") !== null;
let view = null, series = { columns: [], rows: [] }, fared = []; // of the run; of each node's generator: {columns, rows}

function el(name, attributes = {}, ...children) {
  const out = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== null && value !== undefined) out.setAttribute(key, value);
  out.append(...children);
  return out;
}

// Forms of numbers. No line breaks in one: neither the thin space between thousands nor that before a unit lets it.
const group = text => text.replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
const form = {
  int: v => group(String(Math.round(v))),
  ms: v => v === 0 ? "0\u00a0ms" : Math.abs(v) < 0.1 ? (v * 1000).toFixed(1) + "\u00a0µs" : Math.abs(v) < 10 ? v.toFixed(2) + "\u00a0ms" : Math.abs(v) < 1000 ? v.toFixed(1) + "\u00a0ms" : group((v / 1000).toFixed(2)) + "\u00a0s",
  rate: v => v >= 1000 ? group(v.toFixed(0)) + "/s" : v.toFixed(1) + "/s",
  pct: v => v.toFixed(1) + "\u00a0%",
  part: v => (100 * v).toFixed(2) + "\u00a0%",
  plain: v => group(String(+v.toFixed(3))),
  s: v => v.toFixed(1) + "\u00a0s",
};
const dash = "–";

// figure is a number of the API: k says where it stands there, f in which form.
function figure(k, value, f, look = "") {
  const none = value === null || value === undefined;
  return { k: none ? null : k, f, text: none ? dash : form[f](value), look };
}
// around puts words about a figure; share is a part of a whole, whose key names both.
const around = (before, cell, after = "") => ({ ...cell, text: before + cell.text + after });
const share = (part, whole, k, kWhole) => figure(`${k}/${kWhole}`, whole > 0 ? part / whole : null, "part");
const word = (text, look = "") => ({ text: text === undefined || text === null || text === "" ? dash : String(text), look: "text " + look });
const ifAny = (n, look) => n > 0 ? look : "";

function fill(target, cell) {
  target.textContent = cell.text;
  if (cell.look) target.className = cell.look;
  if (cell.k) Object.assign(target.dataset, { k: cell.k, f: cell.f });
  if (cell.verdicts) target.prepend(el("span", { class: "strip", "aria-hidden": "true" }, ...cell.verdicts.map(v => el("i", { class: v }))));
  return target;
}

// set replaces what is in a place if it has changed, so that nothing moves or loses its focus without cause.
const was = new Map();
function set(target, content, build) {
  const now = JSON.stringify(content);
  if (was.get(target) === now) return;
  was.set(target, now);
  target.replaceChildren(...build(content));
}

const tables = {};
// table shows rows; heads that begin with "<" are of text. A column in which nothing stands is left out.
function table(name, caption, heads, rows) {
  if (!tables[name]) {
    const head = el("tr"), body = el("tbody");
    tables[name] = { head, body, box: el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption, id: "table-" + name },
      el("table", {}, el("caption", {}, caption), el("thead", {}, head), body)) };
    $("tables").append(tables[name].box);
  }
  const used = (_, i) => i === 0 || rows.some(row => row[i].text !== dash);
  tables[name].box.hidden = rows.length === 0;
  set(tables[name].head, heads.filter(used), all => all.map(h => el("th", { scope: "col", class: h.startsWith("<") ? "text" : null }, h.replace("<", ""))));
  set(tables[name].body, rows.map(row => row.filter(used)), all => all.map(row => el("tr", {}, ...row.map((cell, i) => fill(i ? el("td") : el("th", { scope: "row" }), cell)))));
}

const phases = ["waiting", "fetching", "distributing", "ready", "scheduled", "running", "finished"];
const tones = { running: "good", finished: "good", aborted: "bad", stopped: "warn", "going on": "warn" };

function render() {
  const c = view.cluster, r = view.result, run = c && c.run;
  const elapsed = run && run.start_at_unix_ms && c.phase === "running" ? Math.max(0, (view.at_unix_ms - run.start_at_unix_ms) / 1000) : null;
  head(c, r, run, elapsed);
  before(c);
  $("answers").hidden = !(view.answers && view.answers.length);
  set($("answer-list"), view.answers || [], all => all.map(a => el("li", { class: "card answer " + a.tone }, el("h3", {}, a.question), el("b", {}, a.answer), el("p", {}, a.because))));
  notes(view.notes || []);
  $("totals").hidden = !r;
  if (r) set($("figures"), figures(r), all => all.map(([name, main, also]) => el("div", { class: "card" }, el("dt", {}, name), fill(el("dd"), main), fill(el("dd"), { ...also, look: "also " + (also.look || "") }))));
  overTime(r, elapsed);
  detail(c, r);
  $("details").hidden = ![...$("tables").children].some(t => !t.hidden);
}

// notes are what a reader must know of the figures, in the words of the text report.
function notes(all) {
  $("notes").hidden = !all.length;
  set($("note-list"), all, () => all.flatMap(n => [...(n.about ? [el("dt", {}, n.about)] : []), el("dd", { class: { warn: "warn-text", bad: "bad-text" }[n.tone] }, n.text)]));
}

function head(c, r, run, elapsed) {
  const id = run ? run.run_id : r ? r.run_id || (r.runs || []).join(", ") : "", title = (view.plan ? view.plan + " " : "") || (id ? "" : "No run yet");
  set($("title"), [title, id], () => [title || "Run ", ...(id ? [el("small", {}, id)] : [])]);
  document.title = `volley · ${[view.plan, id, c && c.phase].filter(Boolean).join(" · ")}`;
  const phase = c ? c.phase : r && r.stopped ? "stopped" : view.going ? "going on" : "finished";
  $("phase").hidden = false;
  set($("phase"), phase, () => [phase]);
  $("phase").className = "pill " + (tones[phase] || "");
  for (const save of ["save-html", "save-json"]) if ($(save)) $(save).hidden = !r;
  const facts = [];
  if (c) facts.push(c.state === "leader" ? `node ${c.node_id}, the leader` : c.cluster_enabled ? `node ${c.node_id}, ${c.state}, leader ${c.leader_id || "unknown"}` : `node ${c.node_id}, standalone`);
  const names = r ? [...new Set(r.nodes.map(n => n.node_id))] : []; // of a restarted node, or of several runs, there are more lines than one
  if (r && !c) facts.push(names.length === 1 ? `node ${names[0]}` : `${names.length} nodes`);
  if (r && r.runs) facts.push(`${r.runs.length} runs together`);
  if (r && r.started_at > "0002") facts.push("started " + r.started_at.replace("T", " ").replace(/\.\d+/, ""));
  const planned = run ? run.planned_duration_s : r ? r.duration_s : 0, endless = planned > 1e7;
  if (elapsed !== null) facts.push(clock(elapsed) + (endless ? "" : " of " + clock(planned)));
  else if (phase === "going on") facts.push(`its first ${clock(planned)}`);
  else if (planned && !endless) facts.push("duration " + clock(planned));
  if (r && r.warmup_s) facts.push(`the first ${clock(r.warmup_s)} warm-up, not counted`);
  if (r && r.stopped) facts.push(`ended after ${clock(r.stopped.after_s)}: ${r.stopped.cause}`);
  const version = c && c.config ? c.config.version : r && r.config_version;
  if (version) facts.push("plan " + version.slice(0, 19));
  if (c && c.config && c.config.origin) facts.push("from " + c.config.origin);
  set($("facts"), facts, all => all.map(f => el("li", {}, f)));
  $("progress").hidden = elapsed === null || endless || !planned;
  if (elapsed !== null) $("progress").value = Math.min(1, elapsed / planned);
  const trouble = [c && c.error, view.missing].filter(Boolean).join("\n");
  $("trouble").hidden = !trouble;
  set($("trouble"), trouble, t => [t]);
}

// before tells of the way to the start: who has the plan, and who has not.
function before(c) {
  const at = c ? phases.indexOf(c.phase) : -1;
  $("before").hidden = !c || !(at >= 0 && at < 5 || c.phase === "aborted");
  if ($("before").hidden) return;
  set($("flow"), at, () => phases.map((p, i) => el("li", { class: i < at ? "done" : null, "aria-current": i === at ? "step" : null }, p)));
  const live = c.members.filter(m => m.alive), version = c.config && c.config.version;
  const have = live.filter(m => version && m.config_version === version), lack = live.filter(m => !have.includes(m));
  let text = "";
  if (!c.cluster_enabled) text = c.run ? "" : "No plan yet: upload one here, or send it to POST /config.";
  else if (!c.leader_id) text = "No leader yet: the nodes are looking for each other.";
  else if (!version) text = `${live.length} nodes are here; ${c.leader_id} leads, and has no plan yet.`;
  else text = `${have.length} of ${live.length} nodes have acknowledged the plan` + (lack.length ? "; not yet: " + lack.map(m => m.node_id).join(", ") : "") + ".";
  set($("flow-text"), text, t => [t]);
}

const errorsOf = r => Object.values(r.errors).reduce((a, b) => a + b, 0);

function figures(r) {
  const errors = errorsOf(r), counted = r.requests - r.retried, late = r.late_starts, kinds = Object.entries(r.errors).filter(e => e[1] > 0);
  const beyond = v => v === null && r.dropped > 0 && r.latency_ms.max !== null ? around("> ", figure("latency_ms.max", r.latency_ms.max, "ms", "bad-text")) : null;
  const out = [
    ["Requests", figure("requests", r.requests, "int"), figure("rps", r.rps, "rate")],
    ["Started", figure("started", r.started, "int"), r.target.iterations === null ? { text: "closed model" } : around("", figure("due", r.due, "int"), " due")],
    ["Errors", figure("errors.*", errors, "int", ifAny(errors, "bad-text")), around("", share(errors, counted, "errors.*", "requests-retried"), kinds.length === 1 ? " · " + kinds[0][0].replace("_", " ") : "")],
    ["Dropped", figure("dropped", r.dropped, "int", ifAny(r.dropped, "bad-text")), r.due ? around("", share(r.dropped, r.due, "dropped", "due"), " of due") : { text: "" }],
    ["Late starts", figure("late_starts.*", late.no_worker + late.catch_up + late.generator, "int", ifAny(late.generator, "warn-text")), late.generator ? around("", figure("late_starts.generator", late.generator, "int"), " by volley") : { text: "" }],
  ];
  for (const [name, key] of [["p50", "p50"], ["p95", "p95"], ["p99", "p99"]]) {
    out.push(["Latency " + name, beyond(r.latency_ms[key]) || figure("latency_ms." + key, r.latency_ms[key], "ms"), around("service ", figure("service_time_ms." + key, r.service_time_ms[key], "ms"))]);
  }
  if (r.start_spread_ms !== undefined) out.push(["Start spread", figure("start_spread_ms", r.start_spread_ms, "ms"), r.start_spread_bound_ms ? around("± ", figure("start_spread_bound_ms", r.start_spread_bound_ms, "ms"), " by the clocks") : { text: "of the nodes" }]);
  return out;
}

// column is one of the series; where of says so, per second. gap is the usual span of a point.
function column(name, of = v => v) {
  const i = series.columns.indexOf(name);
  return series.rows.map((row, j) => row[i] === null ? null : of(row[i], j));
}

// rest is a curve from a second on.
function rest(curve, from) {
  const after = curve.findIndex(c => c[0] > from);
  if (after < 1) return after === 0 ? curve : [];
  const [a, b] = [curve[after - 1], curve[after]];
  return [[from, a[1] + (b[1] - a[1]) * (from - a[0]) / (b[0] - a[0])], ...curve.slice(after)];
}

let shownCharts = null;
function overTime(r, elapsed) {
  const curve = view.curve && view.curve.length ? view.curve : null, closed = view.curve_of === "workers" || r && r.target.iterations === null;
  $("over-time").hidden = !series.rows.length && !curve;
  if ($("over-time").hidden) return;
  $("points").hidden = !series.rows.length;
  shownCharts = shownCharts || makeCharts();
  const t = column("t"), step = t.length > 1 ? t[1] - t[0] : 1;
  // The newest point of a run that goes is not whole yet.
  const going = elapsed !== null, run = view.cluster && view.cluster.run, planned = curve ? curve[curve.length - 1][0] : run ? run.planned_duration_s : r.duration_s;
  let whole = going && t.length ? t.length - 1 : t.length;
  // After the end nothing starts: there is no rate, and a point without anything is none.
  const sent = column("started"), failed = column("errors"), slowest = column("max");
  while (whole && t[whole - 1] >= planned && !sent[whole - 1] && !failed[whole - 1] && slowest[whole - 1] === null) whole--;
  const span = j => j + 1 < t.length ? t[j + 1] - t[j] : r && !going ? Math.min(step, Math.max(r.duration_s - t[j], 0)) || step : step;
  const perSecond = (v, j) => t[j] >= planned ? null : v / span(j);
  const until = Math.max(planned > 1e7 ? 0 : planned, whole ? t[whole - 1] + step : 0, 1), now = going ? elapsed : null;
  // What the plan asks for from the last point on: before that it is in the series, as it was.
  const ahead = !whole ? curve : curve && going ? rest(curve, t[whole - 1] + step / 2) : null;
  const cut = ys => ys.map(y => y.slice(0, whole)), common = { t: t.slice(0, whole), until, now, gap: step };
  const asked = closed ? t.map(() => null) : column("target", perSecond);
  shownCharts.rate.show({ ...common, y: cut([asked, column("started", perSecond), column("dropped", perSecond)]), curve: closed ? null : ahead });
  shownCharts.latency.show({ ...common, y: cut(["p50", "p95", "p99", "max"].map(n => column(n))) });
  shownCharts.errors.show({ ...common, y: cut(["errors", "late"].map(n => column(n, perSecond))) });
  shownCharts.workers.show({ ...common, y: cut([t.map(() => null), column("workers")]), curve: closed ? ahead : null });
  shownCharts.lag.show({ ...common, y: cut([column("schedule_lag_p99"), column("gc_pause")]) });
  shownCharts.cpu.show({ ...common, y: cut([column("cpu_pct"), column("throttled_pct")]) });
  if ($("points").open) pointTable();
}

function makeCharts() {
  const host = $("charts"), rate = (v, axis) => axis ? group(String(+v.toPrecision(3))) : form.rate(v), count = v => group(String(+v.toFixed(2)));
  const ms = (v, axis) => axis ? group(String(+v.toPrecision(3))) : form.ms(v), pct = (v, axis) => axis ? String(+v.toPrecision(3)) : form.pct(v);
  return {
    rate: new Chart(host, { title: "Rate", unit: "per second", wide: true, format: rate, lines: [{ name: "target", look: "target", key: "target", form: "rate" }, { name: "started", look: "a", key: "started", form: "rate" }, { name: "dropped", look: "d", key: "dropped", form: "rate" }] }),
    latency: new Chart(host, { title: "Latency", unit: "ms", wide: true, log: true, format: ms, lines: [{ name: "p50", look: "b", key: "p50", form: "ms" }, { name: "p95", look: "a", key: "p95", form: "ms" }, { name: "p99", look: "c", key: "p99", form: "ms" }, { name: "max", look: "d", key: "max", form: "ms" }] }),
    errors: new Chart(host, { title: "Errors and late starts", unit: "per second", format: rate, lines: [{ name: "errors", look: "d", key: "errors", form: "rate" }, { name: "late", look: "c", key: "late", form: "rate" }] }),
    workers: new Chart(host, { title: "Workers", unit: "most at a time", format: count, lines: [{ name: "asked for", look: "target" }, { name: "working", look: "a", key: "workers", form: "int" }] }),
    lag: new Chart(host, { title: "Generator: lag and GC", unit: "ms, the worst node", log: true, format: ms, lines: [{ name: "lag p99", look: "c", key: "schedule_lag_p99", form: "ms" }, { name: "longest GC pause", look: "b", key: "gc_pause", form: "ms" }] }),
    cpu: new Chart(host, { title: "Generator: CPU", unit: "% of what it may use", format: pct, lines: [{ name: "worst node", look: "b", key: "cpu_pct", form: "pct" }, { name: "throttled", look: "d", key: "throttled_pct", form: "pct" }] }),
  };
}

function pointTable() {
  const forms = { t: clock, target: form.plain, p50: form.ms, p95: form.ms, p99: form.ms, max: form.ms, schedule_lag_p99: form.ms, cpu_pct: form.pct, throttled_pct: form.pct, gc_pause: form.ms };
  set($("points").querySelector("div"), [series.columns, series.rows], () => [el("table", {}, el("thead", {}, el("tr", {}, ...series.columns.map(c => el("th", { scope: "col" }, c.replaceAll("_", " "))))),
    el("tbody", {}, ...series.rows.map(row => el("tr", {}, ...row.map((v, i) => el("td", {}, v === null ? dash : (forms[series.columns[i]] || form.int)(v))))))) ]);
}

const looks = { ok: "good-text", strained: "warn-text", saturated: "bad-text" }; // of the generator's verdicts

// judged is the verdict on a threshold; one task of a job cannot tell of all.
function judged(t, r, going) {
  if (r.tasks > 1 && r.nodes.length === 1) return word("not judged: it is about all tasks");
  if (going && !r.requests) return word("");
  return t.ok ? word(going ? "✓ holds so far" : "✓ held", "good-text") : word("✗ failed", "bad-text");
}

function detail(c, r) {
  nodes(c, r);
  nodePoints(r);
  const going = view.going || c && c.phase === "running";
  const value = (k, t) => t.value === null ? { text: going ? dash : "none" } : /^(?:.*\.)?(?:service\.|ok\.|iteration\.)?(?:p\d|mean|max)/.test(t.expr) ? figure(k, t.value, "ms") : /(?:error|assertion)_rate/.test(t.expr) ? figure(k, t.value, "part") : figure(k, t.value, "plain");
  table("thresholds", "Thresholds", ["<threshold", "value", "failed at", "at a rate of", "<verdict"], r ? r.thresholds.map((t, i) => [word(t.expr), value(`thresholds.${i}.value`, t),
    figure(`thresholds.${i}.failed_at_s`, t.failed_at_s, "s"), figure(`thresholds.${i}.rate_at_failure`, t.rate_at_failure, "rate"), judged(t, r, going)]) : []);
  const p = (k, block, ...names) => names.map(n => figure(`${k}.${n}`, block[n], "ms"));
  const several = r && r.scenarios && r.scenarios.length > 1; // one alone is what the totals say
  table("scenarios", "Scenarios, by iterations", ["<scenario", "succeeded", "failed", "interrupted", "mean", "p50", "p95", "p99", "max"], several ? r.scenarios.map((s, i) => [word(s.scenario), figure(`scenarios.${i}.succeeded`, s.succeeded, "int"),
    figure(`scenarios.${i}.failed`, s.failed, "int", ifAny(s.failed, "bad-text")), figure(`scenarios.${i}.interrupted`, s.interrupted, "int"), ...p(`scenarios.${i}.iteration_ms`, s.iteration_ms, "mean", "p50", "p95", "p99", "max")]) : []);
  table("steps", "Steps", ["<step", "requests", "errors", "p50", "p95", "p99", "max", "service p50", "service p99"], r ? r.steps.map((s, i) => [word((s.scenario ? s.scenario + " / " : "") + s.step),
    figure(`steps.${i}.requests`, s.requests, "int"), figure(`steps.${i}.errors`, s.errors, "int", ifAny(s.errors, "bad-text")), ...p(`steps.${i}.latency_ms`, s.latency_ms, "p50", "p95", "p99", "max"), ...p(`steps.${i}.service_time_ms`, s.service_time_ms, "p50", "p99")]) : []);
  const total = r ? errorsOf(r) : 0;
  table("errors", "Errors by kind", ["<kind", "errors", "of all errors", "<for example"], r ? Object.entries(r.errors).filter(e => e[1] > 0).map(([kind, n]) =>
    [word(kind.replace("_", " ")), figure("errors." + kind, n, "int", "bad-text"), share(n, total, "errors." + kind, "errors.*"), word((r.error_examples || {})[kind], "wrap")]) : []);
  table("statuses", "Status codes", ["<status", "responses"], r ? Object.entries(r.status_codes).map(([code, n]) => [word(code), figure("status_codes." + code, n, "int")]) : []);
  const conns = r && r.connections;
  table("connections", "Connections of requests", ["<client", "new", "reused", "reconnects"], r && r.requests ? [[word(conns.client), ...["new", "reused", "reconnects"].map(n => figure("connections." + n, conns[n], "int"))]] : []);
  const times = [["latency from due", "latency_ms"], ["latency, successful", "latency_ok_ms"], ["service time", "service_time_ms"], ["iteration", "iteration_ms"]].map(([name, k]) => [name, k, r && r[k]]);
  if (r && r.phases_ms) times.push(...["dns", "connect", "tls", "first_byte"].map(k => [k.replace("_", " "), "phases_ms." + k, r.phases_ms[k]]));
  table("percentiles", "Times", ["<of", "min", "mean", "p50", "p90", "p95", "p99", "p99.9", "max"], r && r.requests ? times.map(([name, k, block]) =>
    [word(name), ...p(k, block, "min", "mean", "p50", "p90", "p95", "p99", "p99_9", "max")]) : []);
  table("stages", "Stages", ["<stage", "asked", "started", "late", "dropped", "requests", "errors", "p50", "p95", "p99"], r && r.stages ? r.stages.map((s, i) => [word(`${clock(s.from_s)} to ${clock(s.to_s)}, ${form.plain(s.from_rate)} → ${form.plain(s.to_rate)}`),
    figure(`stages.${i}.target`, s.target, "int"), ...["started", "late", "dropped", "requests", "errors"].map(n => figure(`stages.${i}.${n}`, s[n], "int")), ...p(`stages.${i}.latency_ms`, s.latency_ms, "p50", "p95", "p99")]) : []);
  const g = r && r.generator;
  table("generator", "Generator, the worst node", ["<verdict", "CPU", "throttled", "schedule lag p99", "wake-up p99", "GC pause p99", "<why"], g ? [[word(g.verdict, looks[g.verdict]), figure("generator.cpu_pct", g.cpu_pct, "pct"),
    figure("generator.throttled_pct", g.throttled_pct, "pct"), figure("generator.schedule_lag_p99_ms", g.schedule_lag_p99_ms, "ms"), figure("generator.wakeup_p99_ms", g.wakeup_p99_ms, "ms"), figure("generator.gc_pause_p99_ms", g.gc_pause_p99_ms, "ms"), word((g.reasons || []).join("; "), "wrap")]] : []);
  table("slowest", "The slowest requests", ["<step", "took", "at", "<status", "<connection", "<node"], r ? r.slowest.map((s, i) => [word((s.scenario ? s.scenario + " / " : "") + s.step), figure(`slowest.${i}.ms`, s.ms, "ms"),
    figure(`slowest.${i}.t`, s.t, "s"), s.status ? figure(`slowest.${i}.status`, s.status, "int", "text") : word("timeout"), word(s.connection), word(s.node_id)]) : []);
}

const stillGoing = "the run is going on"; // what the API says of a node whose part is not over
const lineName = n => n.run_id ? `${n.node_id} in ${n.run_id}` : n.node_id;

// nodeRows are the lines of the result and, after them, the members that have none.
// A node that was restarted has a line for each of its processes: the one that is over
// is the lost member's, if the cluster still has it, the other that of who is there.
function nodeRows(members, told) {
  const free = new Set(members.keys()), rows = told.map((n, ni) => ({ name: lineName(n), n, ni, mi: -1 }));
  const lives = ({ n }) => n.complete || n.reason === stillGoing;
  for (const row of [...rows.filter(lives), ...rows.filter(row => !lives(row))]) {
    const own = [...free].filter(mi => members[mi].node_id === row.n.node_id);
    row.mi = own.find(mi => members[mi].alive === lives(row)) ?? own[0] ?? -1;
    free.delete(row.mi);
  }
  const others = [...free].map(mi => ({ name: members[mi].node_id, n: null, ni: -1, mi }));
  return rows.concat(others.sort((a, b) => a.name < b.name ? -1 : 1));
}

function nodes(c, r) {
  const members = c ? c.members : [], running = c && c.phase === "running", rows = nodeRows(members, r ? r.nodes : []);
  table("nodes", "Nodes", ["<node", "<state", "share", "requests", "rate", "lag p99", "CPU", "start skew", "clock offset", "<plan", "<part"], rows.map(({ name, n, ni, mi }) => {
    const m = members[mi], state = !m ? "gone" : !m.alive ? "lost" : m.isolated ? "isolated" : m.node_id === c.leader_id ? "leader" : m.suffrage;
    const of = (key, f) => figure(`nodes.${ni}.${key}`, n && n[key], f), cut = n && !n.complete && n.reason !== stillGoing;
    const acknowledged = !m ? (n.config_version || "").slice(7, 15) : m.config_version ? (c.config && m.config_version === c.config.version ? "✓ " : "") + m.config_version.slice(7, 15) : m.alive ? "not acknowledged" : dash;
    return [word(name), word(c ? state : "", ["lost", "isolated"].includes(state) ? "bad-text" : ""), m ? figure(`cluster.members.${mi}.share`, m.share, "part") : of("share", "part"), of("requests", "int"), of("rps", "rate"), of("schedule_lag_p99_ms", "ms"), of("cpu_pct", "pct"),
      n ? of("start_skew_ms", "ms") : m && running ? figure(`cluster.members.${mi}.start_skew_ms`, m.start_skew_ms, "ms") : word(""), m ? figure(`cluster.members.${mi}.clock_offset_ms`, m.clock_offset_ms, "ms") : of("clock_offset_ms", "ms"), word(acknowledged),
      word(!n ? "" : n.complete ? "✓ complete" : cut ? n.reason || "incomplete" : "going on", "wrap " + (cut ? "bad-text" : ""))];
  }));
  table("generators", "Each node's generator", ["<node", "<verdict", "<over time", "throttled", "GC pause p99", "dropped"], rows.filter(row => row.n).map(({ name, n, ni }) => {
    const of = (key, f) => figure(`nodes.${ni}.${key}`, n[key], f);
    return [word(name), word(n.verdict, looks[n.verdict]), strip(fared[ni]), of("throttled_pct", "pct"), of("gc_pause_p99_ms", "ms"), of("dropped", "int")];
  }));
}

// strip is how a node's generator fared, a stripe for each span; words say the same.
function strip(points) {
  if (!points || points.rows.length < 2) return word("");
  const at = points.columns.indexOf("verdict"), t = points.rows.map(row => row[0]), verdicts = points.rows.map(row => row[at]), parts = [];
  verdicts.forEach((v, i) => { if (i && v === verdicts[i - 1]) return; const end = verdicts.findIndex((o, j) => j > i && o !== v); if (v !== "ok") parts.push(`${v} ${clock(t[i])} to ${end < 0 ? "the end" : clock(t[end])}`); });
  return { text: parts.length ? parts.slice(0, 3).join(", ") + (parts.length > 3 ? " …" : "") : "ok throughout", look: "text over", verdicts };
}

// nodePoints lists what the strips are made of.
function nodePoints(r) {
  const all = r ? r.nodes.flatMap((n, i) => (fared[i] ? fared[i].rows : []).map(row => [lineName(n), ...row])) : [];
  $("node-points").hidden = !all.length;
  if (!all.length || !$("node-points").open) return;
  const forms = [v => v, clock, form.ms, form.pct, form.pct, form.ms, form.int, v => v];
  set($("node-points").querySelector("div"), all, () => [el("table", {}, el("thead", {}, el("tr", {}, ...["node", "t", "lag p99", "CPU", "throttled", "GC pause", "dropped", "generator"].map(h => el("th", { scope: "col" }, h)))),
    el("tbody", {}, ...all.map(row => el("tr", {}, ...row.map((v, i) => el("td", {}, v === null ? dash : String(forms[i](v)))))))) ]);
}

// take lets an event change what is known: the series comes from its first new point on.
function take(event) {
  const s = event.series, run = event.cluster && event.cluster.run;
  // While the leader does not answer, what it said last of this run stays.
  if (event.missing && view && view.result && run && run.run_id === view.result.run_id) Object.assign(event, { result: view.result, answers: view.answers, notes: view.notes, going: view.going });
  else {
    series = { columns: s.columns, rows: series.rows.slice(0, s.from).concat(s.rows) };
    fared = event.over_time.nodes.map((n, i) => ({ columns: event.over_time.columns, rows: (fared[i] ? fared[i].rows : []).slice(0, n.from).concat(n.rows) }));
  }
  view = event;
  render();
}

$("points").addEventListener("toggle", () => { if ($("points").open) pointTable(); });
$("node-points").addEventListener("toggle", () => nodePoints(view && view.result));
