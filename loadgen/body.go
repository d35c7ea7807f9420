package loadgen

import (
	"io"
	"math/rand/v2"
)

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// randomBody streams letters and digits. The transport may still read it after
// the request has ended, so it shares nothing with its worker.
type randomBody struct {
	left int64
	src  *rand.PCG
	bits uint64
	have int
}

func newRandomBody(size int64, seed, n uint64) *randomBody {
	return &randomBody{left: size, src: rand.NewPCG(seed, n)}
}

func (b *randomBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), b.left))
	for i := range p[:n] {
		p[i] = b.next()
	}
	b.left -= int64(n)
	return n, nil
}

// next takes 6 bits at a time, again where they name none of the 62.
func (b *randomBody) next() byte {
	for {
		if b.have == 0 {
			b.bits, b.have = b.src.Uint64(), 10
		}
		i := b.bits & 63
		b.bits >>= 6
		b.have--
		if int(i) < len(alphabet) {
			return alphabet[i]
		}
	}
}

func (b *randomBody) Close() error { return nil }
