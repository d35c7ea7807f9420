package loadgen_test

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"volley/loadgen"
	"volley/stats"
)

// site is a target that notes who came, how.
type site struct {
	*seen
	mu     sync.Mutex
	visits map[string]int // "HTTP/2.0 as client"
	now    int
	most   int // requests at once
}

type siteConfig struct {
	host  string      // 127.0.0.1 unless given
	tls   *tls.Config // nil for none
	h2    bool        // by ALPN, or without TLS by prior knowledge
	each  uint32      // streams of a connection at once, 0 for the default
	serve answer
}

func newSite(t *testing.T, c siteConfig) *site {
	t.Helper()
	s := &site{visits: map[string]int{}}
	serve := c.serve
	if serve == nil {
		serve = ok
	}
	s.seen = unstarted(func(w http.ResponseWriter, r *http.Request) {
		s.enter(r)
		serve(w, r)
		s.leave()
	})
	if c.host != "" {
		listen(t, s.seen, c.host)
	}
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetHTTP2(c.h2)
	s.Config.Protocols.SetUnencryptedHTTP2(c.h2)
	s.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: int(c.each)}
	s.TLS, s.EnableHTTP2 = c.tls, c.h2
	if c.tls != nil {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

func listen(t *testing.T, s *seen, host string) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Skipf("this machine has no %s: %v", host, err)
	}
	_ = s.Listener.Close()
	s.Listener = l
}

func (s *site) enter(r *http.Request) {
	who := "nobody"
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		who = r.TLS.PeerCertificates[0].Subject.CommonName
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.visits[r.Proto+" as "+who]++
	s.now++
	s.most = max(s.most, s.now)
}

func (s *site) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now--
}

// came is how the visitors came, without their number.
func (s *site) came() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(slices.Sorted(maps.Keys(s.visits)), ", ")
}

func (s *site) atOnce() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.most
}

// everyMode runs a test with one step and with several, against an IPv4 and an
// IPv6 address.
func everyMode(t *testing.T, test func(t *testing.T, host, steps string)) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		for name, steps := range map[string]string{
			"single":  `[{request: {method: GET, path: /1}}]`,
			"several": `[{request: {method: GET, path: /1}}, {request: {method: POST, path: /2, body: text}}]`,
		} {
			t.Run(host+" "+name, func(t *testing.T) { test(t, host, steps) })
		}
	}
}

// visit is some iterations of a plan by some workers.
type visit struct {
	config  string // of the plan
	steps   string
	more    string // of the plan
	workers int    // 1 unless given
	times   int    // iterations of each worker, 3 unless given
	alter   func(*loadgen.Job)
}

func (v visit) job(base string) loadgen.Job {
	j := job("r", strings.NewReplacer("CONFIG", v.config, "STEPS", v.steps, "MORE", v.more, "WORKERS", fmt.Sprint(max(v.workers, 1)),
		"TIMES", fmt.Sprint(v.iterations())).Replace(`
version: "1.0"
config: {baseUrl: "$BASE", workers: WORKERS, CONFIG}
load: {model: concurrent, iterations: TIMES}
scenarios: [{name: s, steps: STEPS}]
MORE`), base)
	if v.alter != nil {
		v.alter(&j)
	}
	return j
}

func (v visit) iterations() int { return cmp.Or(v.times, 3) * max(v.workers, 1) }

func (v visit) pay(t *testing.T, base string) *stats.Summary {
	t.Helper()
	leavesNothing(t)
	log, _ := testLog()
	e := loadgen.NewInProcess(log)
	prepare(t, e, v.job(base))
	s, err := e.Run(t.Context(), "r", time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.Completed != int64(v.iterations()) {
		t.Fatalf("%d iterations, want %d", s.Completed, v.iterations())
	}
	return s
}

func TestAClientCertificateOfEveryFormIsShown(t *testing.T) {
	a := newAuthority(t)
	_, keys := a.client(t, "client")
	_, others := a.client(t, "other")
	everyMode(t, func(t *testing.T, host, steps string) {
		for key, cert := range keys {
			paths := func(j *loadgen.Job) { j.Client.ClientCertPath, j.Client.ClientKeyPath = cert, key }
			other := func(j *loadgen.Job) {
				for k, c := range others {
					j.Client.ClientCertPath, j.Client.ClientKeyPath = c, k
				}
			}
			ofPlan := fmt.Sprintf("tls: {ca: %q, cert: %q, key: %q}", a.file("ca.pem"), cert, key)
			for _, o := range []visit{
				{config: ofPlan, steps: steps}, // the plan's
				{config: fmt.Sprintf("tls: {ca: %q}", a.file("ca.pem")), steps: steps, alter: paths},
				{config: "skipTlsVerify: true, http: 2", steps: steps, alter: paths},
				{config: ofPlan, steps: steps, alter: other}, // the plan's beats the node's
			} {
				target := newSite(t, siteConfig{host: host, tls: a.server(t, tls.RequireAndVerifyClientCert), h2: true})
				s := o.pay(t, target.URL)
				if s.ErrorCount() != 0 || !strings.HasSuffix(target.came(), " as client") {
					t.Errorf("%s with %s: errors %v %v, came %s", o.config, key, s.Errors, s.ErrorExamples, target.came())
				}
			}
		}
		strict := a.server(t, tls.RequireAndVerifyClientCert)
		strict.MaxVersion = tls.VersionTLS12 // later ones tell after the handshake
		target := newSite(t, siteConfig{host: host, tls: strict})
		s := visit{config: "skipTlsVerify: true", steps: steps}.pay(t, target.URL)
		if s.Errors[stats.ErrTLS] != s.Requests || target.came() != "" {
			t.Errorf("without a certificate: %d requests, errors %v %v, came %s", s.Requests, s.Errors, s.ErrorExamples, target.came())
		}
	})
}

func TestAnAuthorityOfThePlansIsBelieved(t *testing.T) {
	a := newAuthority(t)
	everyMode(t, func(t *testing.T, host, steps string) {
		target := newSite(t, siteConfig{host: host, tls: a.server(t, tls.NoClientCert)})
		s := visit{config: fmt.Sprintf("tls: {ca: %q}", a.file("ca.pem")), steps: steps}.pay(t, target.URL)
		if s.ErrorCount() != 0 {
			t.Errorf("with its authority: errors %v %v", s.Errors, s.ErrorExamples)
		}
		s = visit{steps: steps}.pay(t, target.URL)
		if s.Errors[stats.ErrTLS] != s.Requests {
			t.Errorf("without: %d requests, errors %v", s.Requests, s.Errors)
		}
		s = visit{config: "skipTlsVerify: true", steps: steps}.pay(t, target.URL)
		if s.ErrorCount() != 0 {
			t.Errorf("unverified: errors %v", s.Errors)
		}
	})
}

func TestTLSFilesThatDoNotServeAreRefused(t *testing.T) {
	a := newAuthority(t)
	cert, _ := a.client(t, "client")
	a.write(t, "locked.key", "ENCRYPTED PRIVATE KEY", []byte{1})
	for config, want := range map[string]string{
		fmt.Sprintf("tls: {ca: %q}", a.file("none.pem")):                              "config.tls.ca: open " + a.file("none.pem"),
		fmt.Sprintf("tls: {ca: %q}", a.file("client-ec.key")):                         "holds no certificate (a PEM file of certificates)",
		fmt.Sprintf("tls: {cert: %q, key: %q}", cert, a.file("client-pkcs1.key")):     "config.tls.key",
		fmt.Sprintf("tls: {cert: %q, key: %q}", cert, a.file("locked.key")):           "in PKCS#8, PKCS#1 or EC form without a passphrase",
		fmt.Sprintf("tls: {cert: %q, key: %q}", a.file("none.pem"), a.file("ca.pem")): `config.tls.cert "` + a.file("none.pem"),
	} {
		log, _ := testLog()
		document := strings.NewReplacer("DURATION", "1s", "CONFIG", config, "STEPS", "[{request: {method: GET, path: /}}]").Replace(once)
		err := loadgen.NewInProcess(log).Prepare(t.Context(), job("r", document, "https://h"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", config, err, want)
		}
	}
}

func TestTheClientCertificateStaysOnItsHost(t *testing.T) {
	a := newAuthority(t)
	for _, version := range []string{"1.1", "2"} {
		var other *site
		first := newSite(t, siteConfig{tls: a.server(t, tls.VerifyClientCertIfGiven), h2: true, serve: func(w http.ResponseWriter, r *http.Request) {
			to := other.URL // another port is the same host, as in net/http
			if r.URL.Path == "/away" {
				to = strings.Replace(other.URL, "127.0.0.1", "localhost", 1)
			}
			http.Redirect(w, r, to+r.URL.Path, http.StatusTemporaryRedirect)
		}})
		_, keys := a.client(t, "client")
		for key, cert := range keys {
			config := fmt.Sprintf("http: %s, tls: {ca: %q, cert: %q, key: %q}", version, a.file("ca.pem"), cert, key)
			for path, want := range map[string]string{"/here": "client", "/away": "nobody"} {
				other = newSite(t, siteConfig{tls: a.server(t, tls.VerifyClientCertIfGiven), h2: true})
				s := visit{config: config, steps: "[{request: {method: POST, path: " + path + ", body: x}}]"}.pay(t, first.URL)
				if s.ErrorCount() != 0 || !strings.HasSuffix(other.came(), " as "+want) || strings.Contains(other.came(), ",") {
					t.Errorf("HTTP %s, %s: errors %v %v, came %s, want %s", version, path, s.Errors, s.ErrorExamples, other.came(), want)
				}
			}
		}
		if !strings.HasSuffix(first.came(), " as client") {
			t.Errorf("to the first host came %s", first.came())
		}
	}
}

func TestTheVersionOfHTTPIsThePlans(t *testing.T) {
	a := newAuthority(t)
	everyMode(t, func(t *testing.T, host, steps string) {
		for _, tc := range []struct {
			version string
			tls, h2 bool
			want    string
			kind    stats.ErrorKind
		}{
			{"1.1", false, true, "HTTP/1.1 as nobody", 0},
			{"1.1", true, true, "HTTP/1.1 as nobody", 0},
			{`"2"`, false, true, "HTTP/2.0 as nobody", 0},
			{"2", true, true, "HTTP/2.0 as nobody", 0},
			{"2.0", true, true, "HTTP/2.0 as nobody", 0},
			{"2", true, false, "", stats.ErrTLS},
			{"2", false, false, "HTTP/2.0 as nobody", stats.ErrNetwork}, // Go's server takes the preface for a request
			{"auto", true, true, "HTTP/2.0 as nobody", 0},
			{"auto", true, false, "HTTP/1.1 as nobody", 0},
			{"auto", false, true, "HTTP/1.1 as nobody", 0},
		} {
			c := siteConfig{host: host, h2: tc.h2}
			if tc.tls {
				c.tls = a.server(t, tls.NoClientCert)
			}
			target := newSite(t, c)
			s := visit{config: "skipTlsVerify: true, http: " + tc.version, steps: steps}.pay(t, target.URL)
			failed := s.ErrorCount()
			if tc.kind != 0 {
				failed -= s.Requests
			}
			if target.came() != tc.want || failed != 0 || s.Errors[tc.kind] != s.ErrorCount() {
				t.Errorf("http %s, TLS %v, HTTP/2 there %v: came %q, want %q; %d requests, errors %v %v",
					tc.version, tc.tls, tc.h2, target.came(), tc.want, s.Requests, s.Errors, s.ErrorExamples)
			}
			ours := client != "std" && strings.HasPrefix(tc.want, "HTTP/1.1")
			if s.OwnClient != ours || s.StdClient != (tc.want != "" && !ours) {
				t.Errorf("http %s, TLS %v, HTTP/2 there %v: connections of our client %v, of net/http %v", tc.version, tc.tls, tc.h2, s.OwnClient, s.StdClient)
			}
		}
	})
}

// protocols are the ways to reach a target.
func protocols(t *testing.T) map[string]siteConfig {
	a := newAuthority(t)
	return map[string]siteConfig{
		"http: 1.1, skipTlsVerify: false": {},
		"http: 1.1, skipTlsVerify: true":  {tls: a.server(t, tls.NoClientCert)},
		"http: 2, skipTlsVerify: false":   {h2: true},
		"http: 2, skipTlsVerify: true":    {tls: a.server(t, tls.NoClientCert), h2: true},
		"http: auto":                      {},
		"http: auto, skipTlsVerify: true": {tls: a.server(t, tls.NoClientCert), h2: true},
		"skipTlsVerify: true, http: auto": {tls: a.server(t, tls.NoClientCert)},
	}
}

func TestConnectionsAreCountedFromTheTruthInEveryProtocol(t *testing.T) {
	for protocol, c := range protocols(t) {
		everyMode(t, func(t *testing.T, host, steps string) {
			c.host = host
			perIteration := int64(strings.Count(steps, "path"))
			for config, each := range map[string]int64{
				"connections: worker": 0, "connections: request": perIteration, "connections: iteration": 1, "connections: 1": 0,
				"pool: {maxIdlePerHost: 0}": perIteration, "pool: {idleTimeoutSecs: 0}": perIteration,
			} {
				target := newSite(t, c)
				s := visit{config: protocol + ", " + config, steps: steps}.pay(t, target.URL)
				want := max(each*3, 1)
				if s.ErrorCount() != 0 || s.ConnsNew != want || int64(target.connections()) != want || s.ConnsReused != s.Requests-want || s.Reconnects != 0 {
					t.Errorf("%s, %s: %d new, %d reused, %d reconnects, %d at the target, %d iterations; want %d new; errors %v %v",
						protocol, config, s.ConnsNew, s.ConnsReused, s.Reconnects, target.connections(), s.Started, want, s.Errors, s.ErrorExamples)
				}
			}
		})
	}
}

// TestAConnectionThatBrokeIsReplaced has the target close what rests while the
// worker thinks.
func TestAConnectionThatBrokeIsReplaced(t *testing.T) {
	for protocol, c := range protocols(t) {
		for _, connections := range []string{"worker", "1"} {
			var once sync.Once
			var target *site
			c.serve = func(w http.ResponseWriter, r *http.Request) {
				once.Do(func() { time.AfterFunc(50*time.Millisecond, func() { target.CloseClientConnections() }) })
			}
			target = newSite(t, c)
			s := visit{config: protocol + ", connections: " + connections, steps: `[{request: {method: POST, path: /1}, thinkTime: 150ms}]`}.pay(t, target.URL)
			if s.ErrorCount() != 0 || s.ConnsNew != 2 || s.Reconnects != 1 || s.Requests != 3 {
				t.Errorf("%s, connections %s: %d requests, %d new, %d reconnects, errors %v %v", protocol, connections, s.Requests, s.ConnsNew, s.Reconnects, s.Errors, s.ErrorExamples)
			}
		}
	}
}

func TestAConnectionRestsAsLongAsThePlanSays(t *testing.T) {
	log, _ := testLog()
	var all sync.WaitGroup
	for protocol, c := range protocols(t) {
		for _, connections := range []string{"worker", "1"} {
			for limit, want := range map[string]int64{"1": 3, "30": 1} {
				config := protocol + ", connections: " + connections + ", pool: {idleTimeoutSecs: " + limit + "}"
				target, e := newSite(t, c), loadgen.NewInProcess(log)
				prepare(t, e, visit{config: config, steps: `[{request: {method: GET, path: /1}, thinkTime: 1200ms}]`}.job(target.URL))
				all.Go(func() {
					s, err := e.Run(t.Context(), "r", time.Now(), nil)
					if err != nil || s.ConnsNew != want || int64(target.connections()) != want || s.Reconnects != 0 || s.ErrorCount() != 0 {
						t.Errorf("%s: %v, %d new, %d reconnects, want %d new; errors %v", config, err, s.ConnsNew, s.Reconnects, want, s.Errors)
					}
				})
			}
		}
	}
	all.Wait()
}

func TestPhasesAreMeasuredIfThePlanAsks(t *testing.T) {
	for protocol, c := range protocols(t) {
		everyMode(t, func(t *testing.T, host, steps string) {
			c.host = host
			for asked, want := range map[string]int64{"true": 1, "false": 0} {
				target := newSite(t, c)
				o := visit{config: protocol + ", connections: request", steps: steps, more: "metrics: {phases: " + asked + "}"}
				s := o.pay(t, target.URL)
				secure := int64(0)
				if c.tls != nil {
					secure = want
				}
				for phase, n := range []int64{1: s.Requests * want, 2: s.Requests * secure, 3: s.Requests * want} {
					if h := &s.Phases[phase]; phase > 0 && h.Count() != n {
						t.Errorf("%s, phases %s: %d samples of phase %d in %d requests, want %d", protocol, asked, h.Count(), phase, s.Requests, n)
					}
				}
				if want == 1 && (s.Phases[3].Max() > s.Service.Max() || s.Phases[3].Min() <= 0) {
					t.Errorf("%s: first byte after %v to %v, service time up to %v", protocol, s.Phases[3].Min(), s.Phases[3].Max(), s.Service.Max())
				}
			}
		})
	}
}

func TestNamesLeadWhereThePlanSays(t *testing.T) {
	a := newAuthority(t)
	everyMode(t, func(t *testing.T, host, steps string) {
		var called sync.Map
		target := newSite(t, siteConfig{host: host, tls: a.server(t, tls.NoClientCert), h2: true, serve: func(_ http.ResponseWriter, r *http.Request) {
			called.Store(r.Host, true)
		}})
		_, port, _ := net.SplitHostPort(target.Listener.Addr().String())
		address := net.JoinHostPort(host, port)
		for base, tc := range map[string]struct{ config, host string }{
			"https://secure.test":              {fmt.Sprintf("resolve: {secure.test: %q, other.test: 10.0.0.1}", address), "secure.test"},
			"https://secure.test:1":            {fmt.Sprintf("resolve: {SECURE.test: %q}", address), "secure.test:1"},
			"https://secure.test:" + port:      {fmt.Sprintf("resolve: {secure.test: %q}", host), "secure.test:" + port},
			"https://Secure.Test":              {fmt.Sprintf("resolveTargetAddr: %q", "secure.test:"+address), "Secure.Test"},
			"https://bücher.example":           {fmt.Sprintf("resolve: {bücher.example: %q}", address), "xn--bcher-kva.example"},
			"https://xn--bcher-kva.example":    {fmt.Sprintf("resolve: {Bücher.example: %q}", address), "xn--bcher-kva.example"},
			"https://BÜCHER.example:" + port:   {fmt.Sprintf("resolve: {xn--bcher-kva.example: %q}", host), "xn--bcher-kva.example:" + port},
			"https://user:word@secure.test:02": {fmt.Sprintf("resolve: {secure.test: %q}", address), "secure.test:02"},
		} {
			for _, version := range []string{"1.1", "2"} {
				called.Clear()
				s := visit{config: fmt.Sprintf("tls: {ca: %q}, http: %s, %s", a.file("ca.pem"), version, tc.config), steps: steps}.pay(t, base)
				_, named := called.Load(tc.host)
				if s.ErrorCount() != 0 || !named {
					t.Errorf("%s with %s, HTTP %s: named %v, want %s; errors %v %v", base, tc.config, version, keysOf(&called), tc.host, s.Errors, s.ErrorExamples)
				}
			}
		}
	})
}

func keysOf(m *sync.Map) (keys []any) {
	m.Range(func(k, _ any) bool {
		keys = append(keys, k)
		return true
	})
	return keys
}
