package loadgen

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"syscall"
	"testing"

	"volley/plan"
	"volley/stats"
)

// urlOf is the URL of a request whose variables have these values.
func urlOf(base string, r *plan.Request, values map[string]string) (*url.URL, error) {
	p := &parser{job: &Job{}, names: names{}}
	a, err := p.address(base, r)
	if err != nil {
		return nil, err
	}
	return a.url(scopeOf(p, values))
}

// scopeOf has values for some of the variables that p has seen.
func scopeOf(p *parser, values map[string]string) *scope {
	s := &scope{worker: 3, draws: rand.New(rand.NewPCG(1, 2)), missing: func(string) {}}
	for name := range values {
		p.names.slot(name)
	}
	s.reset(42, len(p.names))
	for name, value := range values {
		s.set(p.names[name], value)
	}
	return s
}

func TestURLsAreJoinedAndEscaped(t *testing.T) {
	for _, tc := range []struct{ base, path, want string }{
		{"http://h", "/a", "http://h/a"},
		{"http://h/", "a", "http://h/a"},
		{"http://h/b//", "//a/", "http://h/b/a/"},
		{"http://h", "https://other:8443/x?y=1", "https://other:8443/x?y=1"},
		{"http://h", "HTTP://Other/x", "http://Other/x"},
		{"http://h", "/a b?c=d e", "http://h/a%20b?c=d%20e"},
		{"http://h", "/%zz%2f%", "http://h/%25zz%2f%25"},
		{"http://h", "/ü?ü=|\"", "http://h/%C3%BC?%C3%BC=%7C%22"},
		{"http://h", "/a#b?c", "http://h/a"},
		{"http://[::1]:80", "/", "http://[::1]:80/"},
	} {
		u, err := urlOf(tc.base, &plan.Request{Path: tc.path}, nil)
		if err != nil || u.String() != tc.want {
			t.Errorf("%s and %s give %v, %v; want %s", tc.base, tc.path, u, err, tc.want)
		}
	}
	params := []plan.Header{{Name: "b", Value: "1&2"}, {Name: "a", Value: "x y"}}
	for path, want := range map[string]string{"/p": "/p?b=1%262&a=x+y", "/p?z=1": "/p?z=1&b=1%262&a=x+y", "/p?": "/p?b=1%262&a=x+y"} {
		if u, err := urlOf("http://h", &plan.Request{Path: path, QueryParams: params}, nil); err != nil || u.RequestURI() != want {
			t.Errorf("%s gives %v, %v; want %s", path, u, err, want)
		}
	}
	for _, path := range []string{"http://h:port/", "http://", "https:///x"} {
		if u, err := urlOf("http://h", &plan.Request{Path: path}, nil); err == nil || !strings.Contains(err.Error(), "request.path") {
			t.Errorf("%s gives %v, %v", path, u, err)
		}
	}
}

func TestUserInfoBecomesAHeader(t *testing.T) {
	s, err := compile(with(t, "REQUEST=headers: {a: b}"), &Job{})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.scenarios[0].steps[0].header.Get("Authorization"); got != "" {
		t.Errorf("without user info: %q", got)
	}
	p := with(t, "")
	p.Config.BaseURL = "http://me:secret@h"
	if s, err = compile(p, &Job{}); err != nil {
		t.Fatal(err)
	}
	st := s.scenarios[0].steps[0]
	if st.header.Get("Authorization") != "Basic bWU6c2VjcmV0" || st.url.String() != "http://h/" {
		t.Errorf("header %v, URL %v", st.header, st.url)
	}
}

func TestHeadersThatCannotBeSentAreRefused(t *testing.T) {
	p := with(t, "")
	for _, h := range []plan.Header{{Name: "A B", Value: "c"}, {Name: "A", Value: "b\nC: d"}, {Name: "Ä", Value: "b"}} {
		p.Scenarios[0].Steps[0].Request.Headers = []plan.Header{h}
		if _, err := compile(p, &Job{}); err == nil || !strings.Contains(err.Error(), "scenarios[0].steps[0].request.headers") {
			t.Errorf("%q: %v", h, err)
		}
	}
}

func TestScenariosAreDrawnByWeightAndSeed(t *testing.T) {
	s := &script{scenarios: make([]scenario, 3), shares: []float64{1, 1.5, 10}}
	draw := func(seed uint64) (counts [3]float64, first string) {
		for n := range int64(100_000) {
			got := s.pick(seed, n)
			for i := range s.scenarios {
				if got == &s.scenarios[i] {
					counts[i]++
					if n < 50 {
						first += fmt.Sprint(i)
					}
				}
			}
		}
		return counts, first
	}
	counts, first := draw(1)
	for i, share := range []float64{0.1, 0.05, 0.85} {
		want := share * 100_000
		if dev := math.Sqrt(want * (1 - share)); math.Abs(counts[i]-want) > 3*dev {
			t.Errorf("scenario %d was drawn %v times, want %v within %v", i, counts[i], want, 3*dev)
		}
	}
	if _, again := draw(1); again != first {
		t.Error("the same seed draws otherwise")
	}
	if _, other := draw(2); other == first {
		t.Error("another seed draws the same")
	}
	p := &plan.Plan{}
	if seedOf(Job{NodeID: "a", Seed: 1}, p) != seedOf(Job{NodeID: "b", Seed: 1}, p) {
		t.Error("a node on its own draws by its name: a run does not repeat on another host")
	}
	if seedOf(Job{NodeID: "a", Seed: 1, Apart: true}, p) == seedOf(Job{NodeID: "b", Seed: 1, Apart: true}, p) {
		t.Error("two nodes draw alike")
	}
}

func TestRandomBodiesHaveTheirSizeAndLetters(t *testing.T) {
	a, _ := io.ReadAll(newRandomBody(100_000, 1, 1))
	again, _ := io.ReadAll(newRandomBody(100_000, 1, 1))
	b, _ := io.ReadAll(newRandomBody(100_000, 1, 2))
	if len(a) != 100_000 || string(a) != string(again) || string(a) == string(b) {
		t.Errorf("%d bytes; the same again %v; another is the same %v", len(a), string(a) == string(again), string(a) == string(b))
	}
	if rest := strings.Trim(string(a), alphabet); rest != "" {
		t.Errorf("it has %q", rest)
	}
	for _, c := range alphabet {
		if n := strings.Count(string(a), string(c)); n < 1400 || n > 1830 { // 1613, five standard deviations
			t.Errorf("%q comes %d times of 100000", c, n)
		}
	}
}

func TestFailuresAreToldApart(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	for _, tc := range []struct {
		err      error
		timedOut bool
		want     stats.ErrorKind
	}{
		{refused, false, stats.ErrNetwork},
		{refused, true, stats.ErrTimeout},
		{io.ErrUnexpectedEOF, false, stats.ErrNetwork},
		{fmt.Errorf("x: %w", &tlsError{errors.New("bad")}), false, stats.ErrTLS},
		{&net.OpError{Op: "dial", Err: syscall.EMFILE}, false, stats.ErrGenerator},
		// Of a host with two addresses: there was no port left for one of them.
		{errors.Join(refused, &net.OpError{Op: "dial", Err: syscall.EADDRNOTAVAIL}), true, stats.ErrGenerator},
	} {
		if got := failure(tc.err, tc.timedOut); got != tc.want {
			t.Errorf("%v (timed out %v) is kind %d, want %d", tc.err, tc.timedOut, got, tc.want)
		}
	}
}

func TestProcessorsStayWithinTheQuota(t *testing.T) {
	for _, tc := range []struct {
		cpus  int
		quota float64
		want  int
	}{{4, 0, 4}, {4, 2.9, 2}, {4, 0.5, 1}, {2, 8, 2}, {1, 0, 1}} {
		if got := processors(tc.cpus, tc.quota); got != tc.want {
			t.Errorf("%d CPUs, quota %v: %d, want %d", tc.cpus, tc.quota, got, tc.want)
		}
	}
}

func TestFramesAreBounded(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	if err := newLink(ours).send(message{Kind: kindLive, body: make([]byte, mostBody+1)}); err == nil {
		t.Error("a body beyond the limit is sent")
	}
	for _, sizes := range [][2]uint32{{mostHead + 1, 0}, {2, mostBody + 1}, {math.MaxUint32, math.MaxUint32}} {
		go func() {
			frame := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, sizes[0]), sizes[1])
			_, _ = theirs.Write(frame)
		}()
		if _, err := newLink(ours).receive(); err == nil || !strings.Contains(err.Error(), "at most") {
			t.Errorf("a frame of %v is received: %v", sizes, err)
		}
	}
}

func TestAMessageArrivesAsItWasSent(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	want := message{Kind: kindPrepare, ID: 7, RunID: "r", Job: &Job{RunID: "r", Seed: -3, Client: Client{ProxyFromEnv: true}}, body: []byte("plan\x00")}
	go func() { _ = newLink(ours).send(want) }()
	got, err := newLink(theirs).receive()
	if err != nil || got.Kind != want.Kind || got.ID != 7 || string(got.body) != "plan\x00" || got.Job.Seed != -3 || !got.Job.Client.ProxyFromEnv {
		t.Errorf("got %+v, %v", got, err)
	}
	if m := outcome(1, nil, errors.New(strings.Repeat("ü\n", mostHead))); len(m.Error) > mostHead/2 {
		t.Errorf("an error of %d bytes is sent", len(m.Error))
	}
}
