package stats

// Dropped counts arrivals that were due and never started, at the time of the
// shard's last event.
func (s *Shard) Dropped(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n > 0 {
		s.active.drop(Drop{Due: s.active.times.due, At: s.active.times.moment, N: n})
	}
}
