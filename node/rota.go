package node

// rowsBudget is how many bytes of members' rows one roll call carries, to all
// together. Every row to every member would be the square of the members: 90 MB a
// second among 600. Some ninety members are within it.
const rowsBudget = 2 << 20

// rota says whom a roll call shows the rows of all members. What is not shown
// is only what a follower's /health/cluster says of the others: it is older then.
type rota struct{ next int }

// turn begins the next round among n members, with rows of so many bytes, and
// says of the i-th whether it is its turn. At least one has it.
func (r *rota) turn(n, size int) func(i int) bool {
	if n == 0 {
		return func(int) bool { return false }
	}
	k := min(n, max(1, rowsBudget/max(size, 1)))
	from := r.next % n
	r.next = (from + k) % n
	return func(i int) bool { return (i-from+n)%n < k }
}
