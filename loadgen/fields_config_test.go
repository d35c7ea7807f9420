package loadgen_test

import "fmt"

// pauses are three iterations of a request and two seconds.
const pauses = "model: concurrent, iterations: 3"

func configFields(folder string) map[string]field {
	secure := func(more string) string { return `baseUrl: "https://secure.test", ` + more }
	file := func(name string) string { return fmt.Sprintf("%s/%s", folder, name) }
	slow := func(d string) string { return "method: GET, path: /slow/" + d }
	return map[string]field{
		"config.baseUrl": {config: `baseUrl: "§"`, see: func(o outcome) any { return o.calls[0].host + " " + o.calls[0].line },
			a: [2]string{"http://a.test", "a.test GET /"}, b: [2]string{"http://b.test:81/x", "b.test:81 GET /x/"}},
		"config.workers": {config: "workers: §, duration: 1s", load: "model: concurrent", request: slow("2s"), see: requests,
			a: [2]string{"2", "2"}, b: [2]string{"5", "5"}},
		"config.duration": {config: "duration: §", load: "model: rps, target: 10", see: requests,
			a: [2]string{"1s", "10"}, b: [2]string{"1500ms", "15"}},
		"config.timeout": {config: "timeout: §", request: slow("2s"), see: failures,
			a: [2]string{"1s", "timeout 1, fine 0"}, b: [2]string{"3s", "fine 1"}},
		"config.skipTlsVerify": {config: secure("skipTlsVerify: §"), see: failures,
			a: [2]string{"false", "tls 1, fine 0"}, b: [2]string{"true", "fine 1"}},
		"config.customHeaders": {config: `customHeaders: "X-A: §"`, see: header("X-A"),
			a: [2]string{"1", "1"}, b: [2]string{"2", "2"}},
		"config.resolveTargetAddr": {config: `resolveTargetAddr: "target.test:§"`, see: dialled,
			a: [2]string{"10.0.0.7:81", "10.0.0.7:81"}, b: [2]string{"10.0.0.8:82", "10.0.0.8:82"}},
		"config.pool.maxIdlePerHost": {config: "pool: {maxIdlePerHost: §}", load: pauses, see: connections,
			a: [2]string{"0", "3 new of 3, 0 reused"}, b: [2]string{"4", "1 new of 1, 2 reused"}},
		"config.pool.idleTimeoutSecs": {config: "pool: {idleTimeoutSecs: §}", load: pauses, step: ", thinkTime: 2s", see: connections,
			a: [2]string{"1", "3 new of 3, 0 reused"}, b: [2]string{"30", "1 new of 1, 2 reused"}},
		"config.seed": {config: "seed: §", request: `method: GET, path: "/${random(1,1000)}"`, see: lines,
			a: [2]string{"1", "GET /471"}, b: [2]string{"2", "GET /454"}},
		"config.gracefulStop": {config: "duration: 1s, gracefulStop: §", load: "model: concurrent", request: slow("5s"), see: counts,
			a: [2]string{"3s", "started 1, dropped 0, interrupted 1"}, b: [2]string{"10s", "started 1, dropped 0, interrupted 0"}},
		"config.warmup": {config: "duration: 2s, warmup: §", load: "model: rps, target: 10", see: counts,
			a: [2]string{"0s", "started 20, dropped 0, interrupted 0"}, b: [2]string{"500ms", "started 15, dropped 0, interrupted 0"}},
		"config.traceparent": {config: "traceparent: §", see: hasTrace, a: [2]string{"false", "false"}, b: [2]string{"true", "true"}},
		"config.http":        {config: "http: §", see: protocol, a: [2]string{"1.1", "HTTP/1.1"}, b: [2]string{"2", "HTTP/2.0"}},
		"config.client": {config: "client: §", see: whose,
			a: [2]string{"std", "std"}, b: [2]string{"own", "own"}},
		"config.connections": {config: "connections: §", load: pauses, see: connections,
			a: [2]string{"worker", "1 new of 1, 2 reused"}, b: [2]string{"request", "3 new of 3, 0 reused"}},
		"config.dns.ttl": {config: "connections: request, dns: {ttl: §}", load: pauses, step: ", thinkTime: 2s", see: lookups,
			a: [2]string{"1s", "3"}, b: [2]string{"1h", "1"}},
		"config.dns.select": {config: "connections: request, dns: {select: §}", load: pauses, see: dialled,
			a: [2]string{"first", "10.0.0.1:80, 10.0.0.1:80, 10.0.0.1:80"}, b: [2]string{"roundRobin", "10.0.0.1:80, 10.0.0.2:80, 10.0.0.1:80"}},
		"config.resolve.*": {config: `resolve: {target.test: "§"}`, see: dialled,
			a: [2]string{"10.0.0.7", "10.0.0.7:80"}, b: [2]string{"10.0.0.8:82", "10.0.0.8:82"}},
		"config.tls.ca": {config: secure(`tls: {ca: "§"}`), see: failures,
			a: [2]string{file("ca.pem"), "fine 1"}, b: [2]string{file("other.pem"), "tls 1, fine 0"}},
		"config.tls.cert": {config: secure(fmt.Sprintf(`skipTlsVerify: true, tls: {cert: "§", key: %q}`, file("same.key"))), see: who,
			a: [2]string{file("ann.pem"), "ann"}, b: [2]string{file("bob.pem"), "bob"}},
		"config.tls.key": {config: secure(fmt.Sprintf(`skipTlsVerify: true, tls: {cert: %q, key: "§"}`, file("ann.pem"))), see: who,
			a: [2]string{file("same.key"), "ann"}, b: [2]string{file("another.key"), `refused: config.tls.cert "ann.pem" with config.tls.key "another.key": tls: private key does not match public key (PEM files: a certificate with its chain, and its key in PKCS#8, PKCS#1 or EC form without a passphrase)`}},
		"config.cookies": {config: "cookies: §", load: pauses, see: cookieOf,
			a: [2]string{"iteration", "[] [] []"}, b: [2]string{"worker", "[] [sid=c7] [sid=c7]"}},
		"config.maxRedirects": {config: "maxRedirects: §", request: "method: GET, path: /hops/3", see: lines,
			a: [2]string{"1", "GET /hops/3, GET /hops/2"}, b: [2]string{"3", "GET /hops/3, GET /hops/2, GET /hops/1, GET /hops/0"}},
		"config.maxBody": {config: "maxBody: §", step: ", assertions: [{type: bodyContains, text: page}]", see: failures,
			a: [2]string{"20B", "assertion 1, fine 0"}, b: [2]string{"1KB", "fine 1"}},
		"metrics.phases": {top: "metrics: {phases: §}", request: slow("1s"), see: phases, a: [2]string{"false", "0 first bytes"}, b: [2]string{"true", "1 first bytes"}},
	}
}

// rates is a plan's load for some seconds.
func rates(seconds int, load string) field {
	return field{config: fmt.Sprintf("workers: 50, duration: %ds", seconds), load: load, see: perSecond}
}

func loadFields() map[string]field {
	of := func(f field, a, showsA, b, showsB string) field {
		f.a, f.b = [2]string{a, showsA}, [2]string{b, showsB}
		return f
	}
	// Ten seconds each: up, at the top, down, in the middle, down, night.
	day := func(part string) field {
		ratios := map[string]string{"morningRampRatio": "0.1", "peakSustainRatio": "0.2", "midDeclineRatio": "0.1", "midSustainRatio": "0.2", "eveningDeclineRatio": "0.1"}
		ratios[part] = "§"
		text := "model: dailytraffic, min: 2, mid: 4, max: 8, cycleDuration: 10s"
		for _, name := range []string{"morningRampRatio", "peakSustainRatio", "midDeclineRatio", "midSustainRatio", "eveningDeclineRatio"} {
			text += ", " + name + ": " + ratios[name]
		}
		return rates(10, text)
	}
	return map[string]field{
		"load.model":               of(field{config: "duration: 1s", load: "model: §", request: "method: GET, path: /slow/100ms", see: requests}, "rps, target: 4", "4", "concurrent", "10"),
		"load.target":              of(rates(2, "model: rps, target: §"), "3", "[3 3]", "5", "[5 5]"),
		"load.min":                 of(rates(3, "model: ramp, min: §, max: 10, rampDuration: 3s, shape: hold"), "4", "[5 7 9]", "6", "[7 8 9]"),
		"load.max":                 of(rates(3, "model: ramp, min: 4, max: §, rampDuration: 3s, shape: hold"), "10", "[5 7 9]", "16", "[6 10 14]"),
		"load.mid":                 of(rates(10, "model: dailytraffic, min: 2, mid: §, max: 8, cycleDuration: 10s"), "4", "[4 6 8 7 5 4 4 2 2 2]", "6", "[4 6 8 8 6 6 5 3 2 2]"),
		"load.rampDuration":        of(rates(4, "model: ramp, min: 4, max: 10, rampDuration: §, shape: hold"), "2s", "[6 8 10 10]", "4s", "[5 6 8 9]"),
		"load.shape":               of(rates(4, "model: ramp, min: 2, max: 8, rampDuration: 3s, shape: §"), "thirds", "[5 8 5 2]", "hold", "[3 5 7 8]"),
		"load.cycleDuration":       of(rates(10, "model: dailytraffic, min: 2, mid: 4, max: 8, cycleDuration: §"), "10s", "[4 6 8 7 5 4 4 2 2 2]", "5s", "[5 8 4 3 2 5 8 4 3 2]"),
		"load.morningRampRatio":    of(day("morningRampRatio"), "0.1", "[5 8 8 6 4 4 3 2 2 2]", "0.3", "[3 5 7 8 8 6 4 4 3 2]"),
		"load.peakSustainRatio":    of(day("peakSustainRatio"), "0.2", "[5 8 8 6 4 4 3 2 2 2]", "0.4", "[5 8 8 8 8 6 4 4 3 2]"),
		"load.midDeclineRatio":     of(day("midDeclineRatio"), "0.1", "[5 8 8 6 4 4 3 2 2 2]", "0.3", "[5 8 8 8 6 4 4 4 3 2]"),
		"load.midSustainRatio":     of(day("midSustainRatio"), "0.2", "[5 8 8 6 4 4 3 2 2 2]", "0.4", "[5 8 8 6 4 4 4 4 3 2]"),
		"load.eveningDeclineRatio": of(day("eveningDeclineRatio"), "0.1", "[5 8 8 6 4 4 3 2 2 2]", "0.3", "[5 8 8 6 4 4 4 3 2 2]"),
		"load.from":                of(rates(2, "model: stages, from: §, stages: [{duration: 2s, target: 10}]"), "10", "[10 10]", "2", "[4 8]"),
		"load.stages[].duration":   of(rates(4, "model: stages, from: 8, stages: [{duration: §, target: 8}, {duration: 0s, target: 3}]"), "1s", "[8 3 3 3]", "3s", "[8 8 8 3]"),
		"load.stages[].target":     of(rates(2, "model: stages, stages: [{duration: 0s, target: §}, {duration: 2s, target: 8}]"), "8", "[8 8]", "4", "[5 7]"),
		"load.unit": of(field{config: "duration: 1s", load: "model: rps, target: 10, unit: §", steps: "[{request: {method: GET, path: /}}, {request: {method: GET, path: /}}]", see: requests},
			"iterations", "20", "requests", "10"),
		"load.arrival": of(field{config: "duration: 1s, seed: 1", load: "model: rps, target: 3, arrival: §", see: times}, "uniform", "[0s 333.333333ms 666.666667ms]", "poisson", "[218.320238ms 734.272251ms]"),
		"load.rampUp": of(field{config: "workers: 3, duration: 3s", load: "model: concurrent, rampUp: §", request: "method: GET, path: /slow/9s", see: times},
			"0s", "[0s 0s 0s]", "3s", "[0s 1s 2s]"),
		"load.iterations": of(field{load: "model: concurrent, iterations: §", see: requests}, "3", "3", "5", "5"),
		"load.maxWorkers": of(field{config: "duration: 1s", load: "model: rps, target: 10, maxWorkers: §", request: "method: GET, path: /slow/2s", see: requests},
			"2", "2", "20", "10"),
		"load.maxBacklog": of(field{config: "duration: 3s", load: "model: rps, target: 10, maxWorkers: 1, maxBacklog: §", request: "method: GET, path: /slow/1s", see: slowest},
			"100ms", "1.1s", "2s", "2.8s"),
	}
}
