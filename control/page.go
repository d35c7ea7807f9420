package control

import "net/http"

// indexPage holds no data and asks for nothing from elsewhere; its links are
// relative, so that it works behind a proxy's path.
const indexPage = `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>volley</title></head>
<body>
<h1>volley</h1>
<p>This is the control API of a volley node.</p>
<ul>
<li><a href="health">health</a>: what this node is doing</li>
<li><a href="health/cluster">health/cluster</a>: the cluster as this node sees it</li>
<li><a href="report.json">report.json</a>: the running or last result (<a href="report.json?scope=node">this node's own</a>)</li>
<li><a href="metrics">metrics</a>: for Prometheus</li>
</ul>
<p>Run a plan with <code>POST config</code>, end it with <code>POST stop</code>.</p>
</body>
</html>
`

func page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'")
	send(w, http.StatusOK, "text/html; charset=utf-8", []byte(indexPage))
}
