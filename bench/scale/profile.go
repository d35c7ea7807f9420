package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"runtime/pprof"
	"syscall"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// nodeLabel is on every goroutine of a node: what a goroutine starts inherits it.
const nodeLabel = "node"

// memory is what the process holds after a collection.
type memory struct {
	bytes      int64 // of the heap and of stacks
	goroutines int
}

func takeMemory() memory {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return memory{int64(m.HeapAlloc + m.StackInuse), runtime.NumGoroutine()}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// shares are parts of the process's CPU time, by labels of a profile. The
// collector's workers have none, so what the leader's garbage costs is in unlabelled.
type shares struct {
	leader, others, unlabelled float64
	doubt                      float64 // of leader: two standard deviations of its samples
}

// profiled runs watch and says whose the CPU time was, given who leads.
func profiled(leader string, watch func()) (shares, error) {
	var b bytes.Buffer
	if err := pprof.StartCPUProfile(&b); err != nil {
		return shares{}, fmt.Errorf("profile: %w", err)
	}
	watch()
	pprof.StopCPUProfile()
	in, err := gzip.NewReader(&b)
	if err != nil {
		return shares{}, fmt.Errorf("profile: %w", err)
	}
	raw, err := io.ReadAll(in)
	if err != nil {
		return shares{}, fmt.Errorf("profile: %w", err)
	}
	samples, err := samplesByNode(raw)
	if err != nil {
		return shares{}, fmt.Errorf("profile: %w", err)
	}
	var all, others int64
	for name, n := range samples {
		all += n
		if name != leader && name != "" {
			others += n
		}
	}
	part := func(n int64) float64 { return float64(n) / float64(max(all, 1)) }
	return shares{part(samples[leader]), part(others), part(samples[""]), 2 * math.Sqrt(float64(samples[leader])) / float64(max(all, 1))}, nil
}

// Fields of pprof's Profile, Sample and Label (profile.proto).
const (
	profileSample, profileString = 2, 6
	sampleValue, sampleLabel     = 2, 3
	labelKey, labelString        = 1, 2
)

var errProfile = errors.New("malformed")

// samplesByNode counts a profile's samples by their label, "" for none.
func samplesByNode(raw []byte) (map[string]int64, error) {
	var texts []string
	var samples [][]byte
	err := fields(raw, func(number protowire.Number, _ uint64, body []byte) {
		switch number {
		case profileString:
			texts = append(texts, string(body))
		case profileSample:
			samples = append(samples, body)
		}
	})
	if err != nil {
		return nil, err
	}
	text := func(i uint64) string {
		if i < uint64(len(texts)) {
			return texts[i]
		}
		return ""
	}
	counts := map[string]int64{}
	for _, sample := range samples {
		name, values := "", []uint64(nil)
		var labels [][]byte
		err := fields(sample, func(number protowire.Number, v uint64, body []byte) {
			switch number {
			case sampleValue: // the samples, then nanoseconds; runtime/pprof packs only more than two
				values = append(values, v)
			case sampleLabel:
				labels = append(labels, body)
			}
		})
		for _, label := range labels {
			var key, value uint64
			err = errors.Join(err, fields(label, func(number protowire.Number, v uint64, _ []byte) {
				switch number {
				case labelKey:
					key = v
				case labelString:
					value = v
				}
			}))
			if text(key) == nodeLabel {
				name = text(value)
			}
		}
		if err != nil || len(values) == 0 || values[0] > math.MaxInt32 {
			return nil, errors.Join(errProfile, err)
		}
		counts[name] += int64(values[0])
	}
	return counts, nil
}

// fields calls each with the fields of a message: numbers, or bytes.
func fields(raw []byte, each func(number protowire.Number, v uint64, body []byte)) error {
	for len(raw) > 0 {
		number, kind, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return errProfile
		}
		raw = raw[n:]
		var v uint64
		var body []byte
		switch kind {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(raw)
		case protowire.BytesType:
			body, n = protowire.ConsumeBytes(raw)
		default:
			n = protowire.ConsumeFieldValue(number, kind, raw)
		}
		if n < 0 {
			return errProfile
		}
		each(number, v, body)
		raw = raw[n:]
	}
	return nil
}
