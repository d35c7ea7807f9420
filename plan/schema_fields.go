package plan

import "math"

// schemaFields is what editors are told of each key beyond what its type says,
// by type and key.
func schemaFields() map[string]map[string]schemaField {
	rate := func(about string) schemaField {
		return schemaField{about: about, least: bound(0), most: bound(maxRate)}
	}
	ratio := func(about string, standard float64) schemaField {
		return schemaField{about: about, least: bound(0), most: bound(1), standard: standard}
	}
	return map[string]map[string]schemaField{
		"Plan": {
			"version":    {about: "Version of the plan's form: 1.0.", required: true, form: &schemaNode{Enum: []any{acceptVersion, 1.0}}},
			"metadata":   {about: "Describes the plan; tenant and run_id become labels."},
			"config":     {about: "How requests are sent, by whom and for how long.", required: true},
			"load":       {about: "The load model: how many iterations are due when.", required: true},
			"scenarios":  {about: "What one iteration does; each iteration runs one scenario, chosen by weight.", required: true, needItems: true},
			"standby":    {about: "What a node does after the run instead of ending."},
			"thresholds": {about: "Conditions on the result; one that fails makes the exit code 99."},
			"metrics":    {about: "Switches optional measurements on."},
		},
		"Metadata": {
			"name":        {about: "The plan's name, for people."},
			"description": {about: "What the plan is for."},
			"author":      {about: "Who wrote it."},
			"tags":        {about: "Words for people."},
			"tenant":      {about: "Label tenant; a node that runs for one tenant refuses the plans of others."},
			"run_id":      {about: "Id of the run; drawn if it is left out.", pattern: `^[^/\\]*$`},
		},
		"Config":         configFields(),
		"Pool":           poolFields(),
		"DNS":            {"ttl": {about: "How long an answer is used."}, "select": {about: "Which address of several is taken.", words: []string{"roundRobin", "first"}}},
		"TLS":            {"ca": {about: "PEM file of authorities, on the node."}, "cert": {about: "PEM file of the client certificate, on the node."}, "key": {about: "PEM file of its key, on the node."}},
		"Load":           loadFields(rate, ratio),
		"Stage":          {"duration": {about: "Length of the stage; 0s jumps to its target.", required: true}, "target": {about: "Rate per second, or workers with unit workers, at its end.", required: true, least: bound(0), most: bound(maxRate)}},
		"Scenario":       scenarioFields(),
		"ScenarioConfig": {"timeout": {about: "Of one request of this scenario."}, "retryCount": {about: "How often a request is tried again after a transport error, a timeout or a 5xx.", least: bound(0), most: bound(100)}, "retryDelay": {about: "Pause before a retry."}},
		"DataFile":       dataFileFields(),
		"Step":           stepFields(),
		"Request":        requestFields(),
		"Multipart": {
			"name":        {about: "Name of the form field.", required: true},
			"value":       {about: "Its text; may have ${variables}."},
			"file":        {about: "A file whose content is sent."},
			"filename":    {about: "Name that is sent with a file; default its own."},
			"contentType": {about: "Content-Type of the part."},
		},
		"Cache":     {"ttl": {about: "How long a worker keeps what the step has extracted instead of sending the request again.", required: true}},
		"ThinkTime": {"min": {about: "Least pause.", required: true}, "max": {about: "Greatest pause.", required: true}},
		"Extract":   extractFields(),
		"Assertion": assertionFields(),
		"Standby":   {"workers": {about: "How many workers go on.", least: bound(0), most: bound(maxWorkersNode)}, "rps": rate("Requests per second of a node that stands by.")},
		"Threshold": {
			"expr":        {about: "[step(Name).|scenario(Name).]METRIC OP NUMBER[ms|s|%|/s] [over last DURATION], such as p95 < 300ms or error_rate <= 1%.", required: true, form: schemaCondition()},
			"abortOnFail": {about: "End the run as soon as it fails."},
			"after":       {about: "With abortOnFail: not before this time of the run."},
		},
		"Metrics": {"phases": {about: "Histograms of DNS, connect, TLS and time to first byte."}},
	}
}

func configFields() map[string]schemaField {
	return map[string]schemaField{
		"baseUrl":           {about: "URL that paths are added to.", required: true, form: &schemaNode{Type: "string", Pattern: "^https?://[^?#]*$"}},
		"workers":           {about: "Workers: concurrent users of a closed model; in an open one those at the start. In scope cluster the total.", least: bound(1), most: bound(maxWorkersCluster)},
		"duration":          {about: "Length of the run, warmup included. May be left out with stages (their sum) or load.iterations."},
		"timeout":           {about: "Of one request."},
		"skipTlsVerify":     {about: "Accept any certificate."},
		"customHeaders":     {about: `Headers of every request: "Name: value, Other: value"; \, is a comma within a value.`, form: &schemaNode{Type: "string"}},
		"resolveTargetAddr": {about: "host:ip:port: requests for host go to that address.", form: schemaText()},
		"pool":              {about: "Idle connections; applies only where it is given."},
		"seed":              {about: "Makes arrivals, weights, data rows, think times and ${random} repeatable; drawn and printed if it is left out."},
		"gracefulStop":      {about: "How long running iterations may go on at the end."},
		"warmup":            {about: "First part of the duration: sent and shown, kept out of the result."},
		"traceparent":       {about: "Send a W3C trace context with each request."},
		"http":              {about: "Version of HTTP.", form: &schemaNode{Enum: []any{"1.1", "2", "auto", 1.1, 2, "2.0"}}},
		"client":            {about: "The HTTP client: the engine's own for HTTP/1.1 (own; auto where it can), or net/http (std).", words: []string{"auto", "own", "std"}},
		"connections": {about: "Who has connections: each worker one per host, each iteration or request new ones, or all workers share so many.", form: &schemaNode{AnyOf: []*schemaNode{
			{Enum: []any{"worker", "iteration", "request"}}, {Type: "integer", Minimum: bound(1), Maximum: bound(100_000)}, {Type: "string", Pattern: `^\s*\+?0*[1-9]\d*\s*$`},
		}}},
		"dns":          {about: "How host names are looked up."},
		"resolve":      {about: "Addresses of hosts: {host: ip} or {host: ip:port}."},
		"tls":          {about: "Certificates, as files on the node."},
		"cookies":      {about: "How long cookies are kept.", words: []string{"iteration", "worker", "off"}},
		"maxRedirects": {about: "How many redirects a request follows.", least: bound(0), most: bound(100)},
		"maxBody":      {about: "Largest decoded body that an extractor or assertion reads."},
	}
}

func poolFields() map[string]schemaField {
	const most = 1_000_000
	return map[string]schemaField{
		"maxIdlePerHost":          {about: "Idle connections kept per host; 0: a connection per request.", least: bound(0), most: bound(most)},
		"idleTimeoutSecs":         {about: "Seconds that an idle connection is kept; 0: not at all.", least: bound(0), most: bound(most), standard: 30},
		"metricsReuseThresholdMs": {about: "Without effect: connections are counted new and reused from the truth.", least: bound(0), most: bound(most)},
	}
}

func loadFields(rate func(string) schemaField, ratio func(string, float64) schemaField) map[string]schemaField {
	return map[string]schemaField{
		"model":               {about: "concurrent: as fast as the workers go; rps: a constant rate; ramp; dailytraffic; stages: a curve of your own.", required: true, words: models},
		"target":              rate("rps: iterations per second."),
		"min":                 rate("ramp: the lowest rate; dailytraffic: the rate at night."),
		"mid":                 rate("dailytraffic: the rate after the peak."),
		"max":                 rate("ramp: the highest rate; dailytraffic: the rate at the peak."),
		"rampDuration":        {about: "ramp: length of the ramp."},
		"shape":               {about: "ramp: thirds rises, holds and falls, each a third of rampDuration; hold rises and then holds.", words: []string{"thirds", "hold"}},
		"cycleDuration":       {about: "dailytraffic: length of a day.", above: bound(0)},
		"morningRampRatio":    ratio("dailytraffic: share of the cycle in which the rate rises from min to max.", defaultMorningRamp),
		"peakSustainRatio":    ratio("dailytraffic: share of the cycle at max.", defaultPeakSustain),
		"midDeclineRatio":     ratio("dailytraffic: share of the cycle in which the rate falls from max to mid.", defaultMidDecline),
		"midSustainRatio":     ratio("dailytraffic: share of the cycle at mid.", defaultMidSustain),
		"eveningDeclineRatio": ratio("dailytraffic: share of the cycle in which the rate falls from mid to min.", defaultEveningDecline),
		"from":                {about: "stages: target at the start.", least: bound(0), most: bound(maxRate)},
		"stages":              {about: "stages: straight pieces of the curve, one after the other.", needItems: true},
		"unit":                {about: "What is counted: iterations, requests, or, with stages, concurrent workers.", words: []string{"iterations", "requests", "workers"}},
		"arrival":             {about: "uniform: evenly spaced; poisson: at random, by the seed.", words: []string{"uniform", "poisson"}},
		"rampUp":              {about: "concurrent: time in which the workers begin, evenly spread."},
		"iterations":          {about: "The run ends after so many iterations, or at config.duration.", least: bound(1), most: bound(math.MaxInt64)},
		"scope":               {about: "node: every node runs this load; cluster: the numbers are totals, divided among the nodes.", words: []string{"node", "cluster"}},
		"maxWorkers":          {about: "How many workers an open model may come to; default config.workers if that is given, else 10000.", least: bound(1), most: bound(maxWorkersCluster)},
		"maxBacklog":          {about: "Age at which an arrival that could not be sent is dropped, the oldest first."},
	}
}

func scenarioFields() map[string]schemaField {
	return map[string]schemaField{
		"name":     {about: "Name of the scenario, its own.", required: true},
		"weight":   {about: "Its share of the iterations, against the weights of the others.", above: bound(0)},
		"steps":    {about: "Requests that an iteration sends, in order.", required: true, needItems: true},
		"dataFile": {about: "Rows whose columns are variables; each iteration takes one."},
		"config":   {about: "Overrides config for this scenario."},
	}
}

func dataFileFields() map[string]schemaField {
	return map[string]schemaField{
		"path":        {about: "The file, relative to the plan.", required: true},
		"format":      {about: "Its format.", words: []string{"csv", "json"}},
		"strategy":    {about: "Which row comes next.", words: []string{"sequential", "random", "cycle"}},
		"onExhausted": {about: "sequential: begin again after the last row, or stop.", words: []string{"wrap", "stop"}},
		"split":       {about: "Each row goes to one node only; default true in scope cluster."},
	}
}

func stepFields() map[string]schemaField {
	return map[string]schemaField{
		"name":              {about: `Name of the step in results; default "Step <n>".`},
		"request":           {about: "The request that is sent.", required: true},
		"extract":           {about: "Variables that are read from the response."},
		"assertions":        {about: "What the response must satisfy."},
		"cache":             {about: "Keep what the step has extracted."},
		"thinkTime":         {about: "Pause after the step: a duration, or {min, max}."},
		"timeout":           {about: "Of one request of this step."},
		"continueOnFailure": {about: "Go on with the next step if this one fails."},
	}
}

func requestFields() map[string]schemaField {
	return map[string]schemaField{
		"method":      {about: "Method, in any case.", required: true, words: methods, anyCase: true},
		"path":        {about: "A path such as /users/${id}, or a full URL.", required: true},
		"queryParams": {about: "Query parameters, sent in this order and encoded."},
		"headers":     {about: "Headers of this request; they replace common ones of the same name.", form: &schemaNode{Type: "object", Additional: schemaScalarOrNull(), PropertyNames: &schemaNode{Pattern: "^[0-9A-Za-z!#$%&'*+.^_`|~-]+$"}}},
		"body":        {about: "Body; may have ${variables}."},
		"bodySize":    {about: "A random body of this size, such as 512KB."},
		"bodyFile":    {about: "A file that is sent as the body."},
		"form":        {about: "Form fields, sent as application/x-www-form-urlencoded."},
		"multipart":   {about: "Parts of a multipart/form-data body.", needItems: true},
	}
}

func extractFields() map[string]schemaField {
	return map[string]schemaField{
		"type":     {about: "What is read.", required: true, words: extractTypes},
		"name":     {about: "Name of the variable: ${name} from then on.", required: true},
		"jsonPath": {about: "jsonPath: a JSONPath of RFC 9535, such as $.items[0].id."},
		"regex":    {about: "regex: an expression in RE2 syntax; the group value, or the first one, is the variable."},
		"header":   {about: "header: name of the header."},
		"cookie":   {about: "cookie: name of the cookie."},
		"default":  {about: "Value if nothing is found."},
		"required": {about: "The step fails if nothing is found."},
	}
}

func assertionFields() map[string]schemaField {
	expected := schemaText() // its form depends on the type: see schemaRules
	expected.Type = []string{"string", "number", "boolean", "array"}
	return map[string]schemaField{
		"type":     {about: "What is asserted.", required: true, words: assertionTypes()},
		"expected": {about: "statusCode: 200, 2xx or [200, 201]; jsonPath: the value, or * for any.", form: expected},
		"max":      {about: "responseTime: the longest time.", above: bound(0)},
		"path":     {about: "jsonPath: the path."},
		"text":     {about: "bodyContains: the text."},
		"regex":    {about: "bodyMatches: an expression in RE2 syntax."},
		"header":   {about: "headerExists: name of the header."},
		"not":      {about: "Turns the assertion round."},
	}
}

func assertionTypes() []string {
	return []string{"statusCode", "responseTime", "jsonPath", "bodyContains", "bodyMatches", "headerExists"}
}
