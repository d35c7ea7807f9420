package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// What each tool says at its end. A tool that says something else is an error:
// it may have become another.

func readVolley(_ string, result []byte) (s said, err error) {
	var r struct {
		Requests  int64            `json:"requests"`
		Duration  float64          `json:"duration_s"`
		Errors    map[string]int64 `json:"errors"`
		Generator struct {
			LagP50 float64 `json:"schedule_lag_p50_ms"`
			LagP99 float64 `json:"schedule_lag_p99_ms"`
		} `json:"generator"`
	}
	if err := json.Unmarshal(result, &r); err != nil {
		return s, fmt.Errorf("read volley's result: %w", err)
	}
	s = said{answered: r.Requests, seconds: r.Duration, lagP50: r.Generator.LagP50, lagP99: r.Generator.LagP99}
	for _, n := range r.Errors {
		s.failed += n
		s.answered -= n
	}
	return s, nil
}

// finder keeps the first that is not found.
type finder struct {
	text string
	err  error
}

// number is that of the first group of a pattern.
func (f *finder) number(pattern string) float64 {
	m := regexp.MustCompile(pattern).FindStringSubmatch(f.text)
	if m == nil {
		if f.err == nil {
			f.err = fmt.Errorf("nothing like %q is in\n%s", pattern, f.text)
		}
		return 0
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil && f.err == nil {
		f.err = err
	}
	return v
}

// sum adds up the first group of all that match.
func (f *finder) sum(pattern string) (sum int64) {
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(f.text, -1) {
		n, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil && f.err == nil {
			f.err = err
		}
		sum += n
	}
	return sum
}

func readLeast(out string, _ []byte) (s said, err error) {
	f := finder{text: out}
	s.answered, s.seconds = int64(f.number(`(\d+) answered`)), f.number(`answered in ([0-9.]+) s`)
	s.lagP50, s.lagP99 = f.number(`lag p50 ([-0-9.e]+) `), f.number(` p99 ([-0-9.e]+) ms`)
	return s, f.err
}

func readWrk(out string, _ []byte) (s said, err error) {
	f := finder{text: out}
	s.answered = int64(f.number(`(\d+) requests in `))
	length := regexp.MustCompile(` requests in ([0-9.]+[mush]+),`).FindStringSubmatch(out)
	if f.err == nil && length != nil {
		var d time.Duration
		d, f.err = time.ParseDuration(length[1])
		s.seconds = d.Seconds()
	}
	s.failed = f.sum(`Non-2xx or 3xx responses: (\d+)`)
	s.answered -= s.failed
	s.failed += f.sum(`Socket errors: connect (\d+)`) + f.sum(`Socket errors:.* read (\d+)`) + f.sum(`Socket errors:.* write (\d+)`) +
		f.sum(`Socket errors:.* timeout (\d+)`)
	return s, f.err
}

func readHey(out string, _ []byte) (s said, err error) {
	f := finder{text: out}
	s.seconds = f.number(`Total:\s+([0-9.]+) secs`)
	s.answered = f.sum(`\[2\d\d\]\s+(\d+) responses`)
	s.failed = f.sum(`\[[013-9]\d\d\]\s+(\d+) responses`) + f.sum(`(?m)^\s+\[(\d+)\]\s+(?:Get|Post|Put) `)
	return s, f.err
}

func readFortio(out string, _ []byte) (s said, err error) {
	f := finder{text: out}
	s.answered, s.failed = f.sum(`Code +2\d\d : (\d+)`), f.sum(`Code +(?:-1|[013-9]\d\d) : (\d+)`)
	if qps := f.number(` avg, ([0-9.]+) qps`); qps > 0 {
		s.seconds = f.number(`All done (\d+) calls`) / qps
	}
	return s, f.err
}

func readVegeta(out string, _ []byte) (s said, err error) {
	var r struct {
		Duration time.Duration    `json:"duration"`
		Wait     time.Duration    `json:"wait"`
		Codes    map[string]int64 `json:"status_codes"`
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		return s, fmt.Errorf("read vegeta's report: %w\n%s", err, out)
	}
	s.seconds = (r.Duration + r.Wait).Seconds()
	for code, n := range r.Codes {
		if strings.HasPrefix(code, "2") {
			s.answered += n
		} else {
			s.failed += n
		}
	}
	return s, nil
}

func readK6(out string, _ []byte) (s said, err error) {
	f := finder{text: out}
	all := f.number(`http_reqs\.*: (\d+) `)
	if rate := f.number(`http_reqs\.*: \d+ +([0-9.]+)/s`); rate > 0 {
		s.seconds = all / rate
	}
	s.failed = int64(f.number(`http_req_failed\.*: +[0-9.]+% +(\d+) out of `))
	s.answered = int64(all) - s.failed
	return s, f.err
}

// versionOf finds the version in what a tool says of itself.
func versionOf(tool, out string) string {
	pattern, name := map[string][2]string{
		"nginx":      {`nginx/([0-9.]+)`, "nginx"},
		"wrk":        {`wrk (?:debian/)?([0-9.]+)`, "wrk"},
		"fortio":     {`([0-9]+\.[0-9.]+)`, "fortio"},
		"dpkg-query": {`hey\s+([0-9.]+)`, "hey"},
		"go":         {`vegeta/v\d+\s+v([0-9.]+)`, "vegeta"},
		"k6":         {`k6 v([0-9.]+)`, "k6"},
	}[tool], ""
	name = pattern[1]
	m := regexp.MustCompile(pattern[0]).FindStringSubmatch(out)
	if m == nil {
		return ""
	}
	return name + " " + m[1]
}
