package loadgen_test

import (
	"fmt"

	"volley/loadgen"
)

func scenarioFields() map[string]field {
	get := func(path string) string { return "{request: {method: GET, path: " + path + "}}" }
	retrying := func(config string) field {
		return field{scenario: ", config: {" + config + "}", request: "method: GET, path: /status/503", see: times}
	}
	data := func(config string) field {
		return field{load: "model: concurrent, iterations: 4", scenario: ", dataFile: {" + config + "}", request: `method: GET, path: "/${v}"`, see: lines}
	}
	of := func(f field, a, showsA, b, showsB string) field {
		f.a, f.b = [2]string{a, showsA}, [2]string{b, showsB}
		return f
	}
	split := data("path: one.csv, split: §")
	split.alter = func(j *loadgen.Job) {
		j.Files.Local = false
		j.Self, j.Divisions = "b", []loadgen.Division{{Among: []loadgen.Portion{{"a", 1}, {"b", 1}}}}
	}
	return map[string]field{
		"scenarios[].name": {steps: "[" + get("/") + "]}, {name: §, steps: [" + get("/") + "]", see: func(o outcome) any { return o.Scenarios[1].Name },
			a: [2]string{"Buy", "Buy"}, b: [2]string{"Sell", "Sell"}},
		"scenarios[].weight": {config: "seed: 1", load: "model: concurrent, iterations: 1000", steps: "[" + get("/a") + "]}, {name: other, weight: §, steps: [" + get("/b") + "]",
			see: func(o outcome) any { return (o.Steps[1].Requests + 50) / 100 }, a: [2]string{"1", "5"}, b: [2]string{"9", "9"}},
		"scenarios[].steps[].name": {steps: "[{name: §, request: {method: GET, path: /}}]", see: names, a: [2]string{"In", "only/In"}, b: [2]string{"Out", "only/Out"}},
		"scenarios[].steps[].thinkTime": {load: pauses, step: ", thinkTime: §", see: times,
			a: [2]string{"1s", "[0s 1s 2s]"}, b: [2]string{"2s", "[0s 2s 4s]"}},
		"scenarios[].steps[].thinkTime.min": {config: "seed: 1", load: pauses, step: ", thinkTime: {min: §, max: 3s}", see: times,
			a: [2]string{"1s", "[0s 1.94s 3.627s]"}, b: [2]string{"3s", "[0s 3s 6s]"}},
		"scenarios[].steps[].thinkTime.max": {config: "seed: 1", load: pauses, step: ", thinkTime: {min: 1s, max: §}", see: times,
			a: [2]string{"1s", "[0s 1s 2s]"}, b: [2]string{"9s", "[0s 4.761s 8.508s]"}},
		"scenarios[].steps[].timeout": {request: "method: GET, path: /slow/2s", step: ", timeout: §", see: failures,
			a: [2]string{"1s", "timeout 1, fine 0"}, b: [2]string{"3s", "fine 1"}},
		"scenarios[].steps[].continueOnFailure": {steps: "[{request: {method: GET, path: /status/500}, continueOnFailure: §}, " + get("/next") + "]", see: lines,
			a: [2]string{"false", "GET /status/500"}, b: [2]string{"true", "GET /status/500, GET /next"}},
		"scenarios[].steps[].cache.ttl": {load: pauses, step: ", cache: {ttl: §}, extract: [{type: header, name: v, header: X-Id}], thinkTime: 2s", see: times,
			a: [2]string{"1s", "[0s 2s 4s]"}, b: [2]string{"3s", "[0s 4s]"}},
		"scenarios[].config.timeout": {scenario: ", config: {timeout: §}", request: "method: GET, path: /slow/2s", see: failures,
			a: [2]string{"1s", "timeout 1, fine 0"}, b: [2]string{"3s", "fine 1"}},
		"scenarios[].config.retryCount":    of(retrying("retryCount: §, retryDelay: 1s"), "1", "[0s 1s]", "2", "[0s 1s 2s]"),
		"scenarios[].config.retryDelay":    of(retrying("retryCount: 1, retryDelay: §"), "1s", "[0s 1s]", "3s", "[0s 3s]"),
		"scenarios[].dataFile.path":        of(data("path: §"), "one.csv", "GET /r0, GET /r1, GET /r2, GET /r0", "two.csv", "GET /s0, GET /s0, GET /s0, GET /s0"),
		"scenarios[].dataFile.format":      of(data("path: either, format: §"), "csv", `refused: scenarios[0].dataFile.path: csv file "either": parse error on line 1, column 3: bare " in non-quoted-field`, "json", "GET /j0, GET /j0, GET /j0, GET /j0"),
		"scenarios[].dataFile.strategy":    of(data("path: one.csv, strategy: §"), "cycle", "GET /r0, GET /r1, GET /r2, GET /r0", "random", "GET /r1, GET /r2, GET /r0, GET /r2"),
		"scenarios[].dataFile.onExhausted": of(data("path: one.csv, onExhausted: §"), "wrap", "GET /r0, GET /r1, GET /r2, GET /r0", "stop", "GET /r0, GET /r1, GET /r2"),
		"scenarios[].dataFile.split":       of(split, "false", "GET /r0, GET /r1, GET /r2, GET /r0", "true", "GET /r1, GET /r1, GET /r1, GET /r1"),
	}
}

func requestFields() map[string]field {
	post := func(more string, see func(o outcome) any, a, showsA, b, showsB string) field {
		return field{request: "method: POST, path: /, " + more, see: see, a: [2]string{a, showsA}, b: [2]string{b, showsB}}
	}
	part := func(text, a, showsA, b, showsB string) field {
		of := func(shows string) string {
			return fmt.Sprintf("multipart %q", "--B\r\nContent-Disposition: form-data; "+shows+"\r\n--B--\r\n")
		}
		return post("multipart: [{"+text+"}]", bodyOf, a, of(showsA), b, of(showsB))
	}
	const request = "scenarios[].steps[].request."
	return map[string]field{
		request + "method":                  {request: "method: §, path: /", see: lines, a: [2]string{"GET", "GET /"}, b: [2]string{"delete", "DELETE /"}},
		request + "path":                    {request: "method: GET, path: §", see: lines, a: [2]string{"/a", "GET /a"}, b: [2]string{"/b?c=d", "GET /b?c=d"}},
		request + "queryParams.*":           post("queryParams: {q: §}", lines, "1", "POST /?q=1", "a b", "POST /?q=a+b"),
		request + "headers.*":               post("headers: {X-A: §}", header("X-A"), "1", "1", "2", "2"),
		request + "body":                    post("body: '§'", bodyOf, "one", ` "one"`, "two", ` "two"`),
		request + "bodySize":                post("bodySize: §", func(o outcome) any { return len(o.calls[0].body) }, "3B", "3", "2KB", "2048"),
		request + "bodyFile":                post("bodyFile: §", bodyOf, "one.txt", ` "file one"`, "two.txt", ` "file two"`),
		request + "form.*":                  post("form: {a: '§'}", bodyOf, "1", `application/x-www-form-urlencoded "a=1"`, "b&c", `application/x-www-form-urlencoded "a=b%26c"`),
		request + "multipart[].name":        part("name: §, value: v", "a", "name=\"a\"\r\n\r\nv", "b", "name=\"b\"\r\n\r\nv"),
		request + "multipart[].value":       part("name: a, value: §", "v", "name=\"a\"\r\n\r\nv", "w", "name=\"a\"\r\n\r\nw"),
		request + "multipart[].file":        part("name: a, file: §", "one.txt", "name=\"a\"; filename=\"one.txt\"\r\nContent-Type: application/octet-stream\r\n\r\nfile one", "two.txt", "name=\"a\"; filename=\"two.txt\"\r\nContent-Type: application/octet-stream\r\n\r\nfile two"),
		request + "multipart[].filename":    part("name: a, file: one.txt, filename: §", "x", "name=\"a\"; filename=\"x\"\r\nContent-Type: application/octet-stream\r\n\r\nfile one", "y", "name=\"a\"; filename=\"y\"\r\nContent-Type: application/octet-stream\r\n\r\nfile one"),
		request + "multipart[].contentType": part("name: a, value: v, contentType: §", "text/x", "name=\"a\"\r\nContent-Type: text/x\r\n\r\nv", "text/y", "name=\"a\"\r\nContent-Type: text/y\r\n\r\nv"),
	}
}

func responseFields() map[string]field {
	extract := func(text, a, showsA, b, showsB string) field {
		return field{
			steps: `[{request: {method: GET, path: /}, extract: [{` + text + `}]}, {request: {method: GET, path: "/v${v}w${w}"}}]`,
			see:   path, a: [2]string{a, showsA}, b: [2]string{b, showsB},
		}
	}
	assert := func(text, holds, fails string) field {
		return field{step: ", assertions: [{" + text + "}]", see: failures, a: [2]string{holds, "fine 1"}, b: [2]string{fails, "assertion 1, fine 0"}}
	}
	slowly := assert("type: responseTime, max: §", "2s", "1s")
	slowly.request = "method: GET, path: /slow/1500ms"
	const extracts, assertions = "scenarios[].steps[].extract[].", "scenarios[].steps[].assertions[]."
	return map[string]field{
		extracts + "type":     extract("type: §, name: v", "header, header: X-Id", "/vh7w${w}", "cookie, cookie: sid", "/vc7w${w}"),
		extracts + "name":     extract("type: header, name: §, header: X-Id", "v", "/vh7w${w}", "w", "/v${v}wh7"),
		extracts + "jsonPath": extract("type: jsonPath, name: v, jsonPath: §", "$.id", "/v7w${w}", "$.who", "/vannw${w}"),
		extracts + "regex":    extract("type: regex, name: v, regex: '§'", `page=(\d)`, "/v5w${w}", `of=(\d)`, "/v9w${w}"),
		extracts + "header":   extract("type: header, name: v, header: §", "X-Id", "/vh7w${w}", "Content-Length", "/v44w${w}"),
		extracts + "cookie":   extract("type: cookie, name: v, cookie: §", "sid", "/vc7w${w}", "other", "/v${v}w${w}"),
		extracts + "default":  extract("type: header, name: v, header: X-None, default: §", "d", "/vdw${w}", "e", "/vew${w}"),
		extracts + "required": extract("type: header, name: v, header: X-None, required: §", "false", "/v${v}w${w}", "true", "/"),

		assertions + "type":     assert("type: §, expected: 200", "statusCode", "jsonPath, path: $.id"),
		assertions + "expected": assert("type: jsonPath, path: $.id, expected: §", "7", "8"),
		assertions + "max":      slowly,
		assertions + "path":     assert("type: jsonPath, path: §", "$.id", "$.nope"),
		assertions + "text":     assert("type: bodyContains, text: §", "page", "nope"),
		assertions + "regex":    assert("type: bodyMatches, regex: '§'", `page=\d`, `page=\D`),
		assertions + "header":   assert("type: headerExists, header: §", "X-Id", "X-None"),
		assertions + "not":      assert("type: bodyContains, text: page, not: §", "false", "true"),
	}
}
