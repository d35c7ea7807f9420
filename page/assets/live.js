// The live page's part: the stream of events, the token, stop and upload.
const base = location.pathname.endsWith("/") ? location.pathname : location.pathname + "/"; // behind a proxy, too
const silence = 4000; // milliseconds without a word of the node: ask anew
let token = sessionStorage.getItem("volley-token") || "", asking = null;

const headers = () => token ? { Authorization: "Bearer " + token } : {};

// needToken asks for the token once, however many want it.
function needToken(why) {
  if (token) return Promise.resolve();
  const dialog = $("ask-token");
  asking = asking || new Promise(done => {
    $("token-why").textContent = why || "This node asks for its token (API_AUTH_TOKEN).";
    dialog.showModal();
    dialog.addEventListener("close", () => {
      asking = null;
      token = $("token").value.trim();
      $("token").value = "";
      if (token) sessionStorage.setItem("volley-token", token);
      done();
    }, { once: true });
  });
  return asking;
}

function forget() { token = ""; sessionStorage.removeItem("volley-token"); }

function connection(text) {
  $("connection").hidden = !text;
  set($("connection"), text, t => [t]);
}

const pause = ms => new Promise(done => setTimeout(done, ms));

// listen follows one stream to its end.
async function listen() {
  const abort = new AbortController();
  let timer = 0;
  const heard = () => { clearTimeout(timer); timer = setTimeout(() => abort.abort(), silence); };
  heard();
  try {
    const answer = await fetch(base + "events", { headers: headers(), signal: abort.signal, cache: "no-store" });
    if (answer.status === 401) { forget(); return "token"; }
    if (!answer.ok) return answer.status === 503 ? "refused" : "lost"; // a proxy's 502: nobody is behind it
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = "";;) {
      const { value, done } = await reader.read();
      if (done) return "ended";
      heard();
      const parts = (text + value).split("\n\n");
      text = parts.pop();
      for (const part of parts) if (part.startsWith("data: ")) { take(JSON.parse(part.slice(6))); connection(""); }
    }
  } catch (e) {
    if (!(e instanceof TypeError) && e.name !== "AbortError") throw e;
    return "lost";
  } finally {
    clearTimeout(timer);
  }
}

async function follow() {
  for (let wait = 250;;) {
    if (document.documentElement.dataset.token === "all") await needToken();
    const began = Date.now(), how = await listen();
    if (how === "token") { await needToken("The token was not accepted. Please try again."); continue; }
    connection(how === "refused" ? "This node has no room for another viewer, or is shutting down; asking again…" : "The node does not answer; asking again. Below is what was known last.");
    wait = Date.now() - began > 5000 ? 250 : Math.min(wait * 2, 2000);
    await pause(wait);
  }
}

const refusal = error => ({ ok: false, status: 0, json: async () => ({ error }) });

// send calls the API with the token, which it asks for as often as it is refused.
async function send(path, options) {
  for (let why = "";;) {
    if (document.documentElement.dataset.token !== "none" && (options.method || document.documentElement.dataset.token === "all")) await needToken(why);
    if (why && !token) return refusal("No token was given.");
    try {
      const answer = await fetch(base + path, { ...options, headers: headers() });
      if (answer.status !== 401) return answer;
      forget();
      why = "The token was not accepted. Please try again.";
    } catch {
      return refusal("The node does not answer.");
    }
  }
}

function say(id, text) { $(id).hidden = !text; $(id).textContent = text; }
const reasonOf = async answer => { const said = await answer.json().catch(() => ({})); return said.error || said.message || `The node answered with ${answer.status}.`; };

$("stop").addEventListener("click", () => { say("stop-error", ""); $("ask-stop").showModal(); });
$("stop-now").addEventListener("click", async () => {
  const answer = await send("stop", { method: "POST" });
  if (answer.ok) $("ask-stop").close(); else say("stop-error", await reasonOf(answer));
});

$("upload").addEventListener("click", () => { say("plan-error", ""); $("problems").replaceChildren(); $("ask-plan").showModal(); });
$("plan-file").addEventListener("change", async () => { const file = $("plan-file").files[0]; if (file) $("plan").value = await file.text(); });
$("plan-send").addEventListener("click", async () => {
  const answer = await send("config", { method: "POST", body: $("plan").value });
  const said = answer.ok ? null : await answer.json().catch(() => ({}));
  const errors = said && said.errors || [];
  say("plan-error", !said ? "" : errors.length ? `The plan has ${errors.length} ${errors.length === 1 ? "mistake" : "mistakes"}; nothing was changed.` : said.error || `The node answered with ${answer.status}.`);
  $("problems").replaceChildren(...errors.map(e => {
    const go = el("button", { type: "button", class: "link" }, e.line ? `line ${e.line}, column ${e.column}` : "in the plan");
    go.addEventListener("click", () => mark(e.line, e.column));
    return el("li", {}, go, `: ${e.path ? e.path + ": " : ""}${e.message}`);
  }));
  if (answer.ok) $("ask-plan").close();
});

// mark selects from a place in the plan to the end of its line.
function mark(line, col) {
  const lines = $("plan").value.split("\n"), start = lines.slice(0, line - 1).reduce((n, l) => n + l.length + 1, 0);
  $("plan").focus();
  $("plan").setSelectionRange(start + Math.max(col - 1, 0), start + (lines[line - 1] || "").length);
}

for (const kind of ["html", "json"]) $("save-" + kind).addEventListener("click", async () => {
  const answer = await send("report." + kind, {});
  if (!answer.ok) { say("trouble", await reasonOf(answer)); return; }
  const link = el("a", { href: URL.createObjectURL(await answer.blob()), download: `volley-${view && view.result ? view.result.run_id : "report"}.${kind}` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
});

$("foot").append("The same as data: ", ...["health", "health/cluster", "report.json", "metrics"].flatMap((path, i) => [i ? ", " : "", el("a", { href: base + path }, path)]));

follow();
