package settings

import "time"

func (c *checker) checkMemory(m *Memory) {
	c.refuseUnless(m.Rotation == 0 || m.Rotation >= time.Second, "HISTOGRAM_ROTATION_INTERVAL",
		"outside the accepted range: want off or at least 1s")
	if c.bad["MEMORY_WARNING_THRESHOLD_PERCENT"] || c.bad["MEMORY_CRITICAL_THRESHOLD_PERCENT"] {
		return
	}
	c.refuseUnless(m.WarningPct < m.CriticalPct, "MEMORY_WARNING_THRESHOLD_PERCENT",
		"%g %% is not below the critical threshold: want less than MEMORY_CRITICAL_THRESHOLD_PERCENT (%g)", m.WarningPct, m.CriticalPct)
}
