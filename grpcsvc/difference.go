package grpcsvc

import (
	"encoding/binary"
	"hash/crc32"
)

// A difference says how a byte sequence is made of an earlier one, its base: of
// stretches of the base, and of bytes that are not there. Its form: the length and
// the checksum of what it makes, then for each stretch how many new bytes come
// before it, these bytes, where it begins, counted from the end of the stretch
// before, and its length. All numbers are varints, but for the checksum.
//
// Between two seconds of a run few buckets of its histograms change, each by a
// byte or two that stand between the same bytes as before. That is what makes it
// small; it knows nothing of summaries, and is exact for any two sequences.

const (
	// pieceBytes is how long what is looked for in the base is, and how far apart
	// what can be found there begins: any stretch of 15 bytes is found.
	pieceBytes = 8
	// leastNear is the shortest stretch that is worth naming where it is expected.
	leastNear = 4
)

// difference makes now of base. It is nil if now itself is hardly longer.
func difference(base, now []byte) []byte {
	d := differ{base: base, now: now, out: binary.AppendUvarint(make([]byte, 0, len(now)/4+32), uint64(len(now)))}
	d.out = binary.LittleEndian.AppendUint32(d.out, checksum(now))
	d.index()
	for at := 0; at+leastNear <= len(now); {
		from, length := d.find(at)
		if length == 0 {
			at++
			continue
		}
		for at > d.done && from > 0 && base[from-1] == now[at-1] {
			at, from, length = at-1, from-1, length+1
		}
		d.stretch(at, from, length)
		at = d.done
		if len(d.out) >= len(now)/2 {
			return nil
		}
	}
	if d.done < len(now) {
		d.literal(len(now))
	}
	if len(d.out) >= len(now)/2 {
		return nil
	}
	return d.out
}

// differ is a difference in the making.
type differ struct {
	base, now, out []byte
	places         []int32 // of the base, by the hash of the piece that begins there; +1, 0 is none
	shift          int
	done           int // so much of now is made
	next           int // where in the base the stretch before ends
}

func (d *differ) index() {
	bits := 8
	for 1<<bits < len(d.base)/pieceBytes {
		bits++
	}
	d.places, d.shift = make([]int32, 1<<bits), 64-bits
	for at := 0; at+pieceBytes <= len(d.base); at += pieceBytes {
		d.places[d.hash(d.base[at:])] = int32(at) + 1
	}
}

func (d *differ) hash(piece []byte) uint64 {
	return binary.LittleEndian.Uint64(piece) * 0x9E3779B97F4A7C15 >> d.shift
}

// find looks for a stretch of the base with which now goes on at a place: the one
// that would be there if only single bytes had changed, else any.
func (d *differ) find(at int) (from, length int) {
	if near := d.next + at - d.done; near < len(d.base) {
		if length = common(d.base[near:], d.now[at:]); length >= leastNear {
			return near, length
		}
	}
	if at+pieceBytes > len(d.now) {
		return 0, 0
	}
	from = int(d.places[d.hash(d.now[at:])]) - 1
	if from < 0 {
		return 0, 0
	}
	if length = common(d.base[from:], d.now[at:]); length < pieceBytes {
		return 0, 0
	}
	return from, length
}

// common is how many bytes both begin with alike.
func common(a, b []byte) int {
	n, most := 0, min(len(a), len(b))
	for n+8 <= most && binary.LittleEndian.Uint64(a[n:]) == binary.LittleEndian.Uint64(b[n:]) {
		n += 8
	}
	for n < most && a[n] == b[n] {
		n++
	}
	return n
}

func (d *differ) literal(until int) {
	d.out = binary.AppendUvarint(d.out, uint64(until-d.done))
	d.out = append(d.out, d.now[d.done:until]...)
	d.done = until
}

func (d *differ) stretch(at, from, length int) {
	d.literal(at)
	d.out = binary.AppendVarint(d.out, int64(from-d.next))
	d.out = binary.AppendUvarint(d.out, uint64(length))
	d.done, d.next = at+length, from+length
}

// applied makes of base what the difference was made for. What comes out has at
// most so many bytes; ok is false if the difference is not of this base.
func applied(base, diff []byte, most int) (out []byte, ok bool) {
	r := reader{diff, true}
	size := r.length(most)
	sum := r.take(4)
	out, next := make([]byte, 0, min(size, len(base)+len(diff))), 0 // what it claims may be wrong
	for r.ok && len(out) < size {
		fresh := r.length(size - len(out))
		if out = append(out, r.take(fresh)...); len(out) == size {
			break
		}
		next += r.way(-next, len(base)-next)
		length := r.length(min(size-len(out), len(base)-next))
		if !r.ok || fresh == 0 && length == 0 {
			return nil, false
		}
		out, next = append(out, base[next:next+length]...), next+length
	}
	return out, r.ok && len(r.rest) == 0 && binary.LittleEndian.Uint32(sum) == checksum(out)
}

// reader takes from rest until it is not ok any more; then all is 0.
type reader struct {
	rest []byte
	ok   bool
}

func (r *reader) length(most int) int {
	v, n := binary.Uvarint(r.rest)
	if !r.ok || n <= 0 || v > uint64(most) {
		r.ok = false
		return 0
	}
	r.rest = r.rest[n:]
	return int(v)
}

func (r *reader) way(least, most int) int {
	v, n := binary.Varint(r.rest)
	if !r.ok || n <= 0 || v < int64(least) || v > int64(most) {
		r.ok = false
		return 0
	}
	r.rest = r.rest[n:]
	return int(v)
}

func (r *reader) take(n int) []byte {
	if !r.ok || n > len(r.rest) {
		r.ok = false
		return nil
	}
	out := r.rest[:n]
	r.rest = r.rest[n:]
	return out
}

func checksum(data []byte) uint32 { return crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)) }
