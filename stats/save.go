package stats

import "slices"

// Save makes the recorder take no more memory than it has to, for the rest of
// the run: steps and scenarios that have counted nothing yet are counted
// together as "other" from now on, but for those that a threshold names, and
// phases are recorded no longer. What has been recorded stays.
func (r *Recorder) Save() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.saved {
		return
	}
	r.saved = true
	r.held(func() {
		r.foldSteps()
		r.foldScenarios()
		for i, s := range r.shards {
			s.active.saving, r.spare[i].saving = true, true
		}
	})
}

func (r *Recorder) foldSteps() {
	kept, _ := r.layout.kept()
	rest := StepKey{other, other}
	r.foldedSteps = map[int]bool{}
	for i, st := range r.total.Steps {
		used := st.Requests > 0 || slices.ContainsFunc(r.shards, func(s *Shard) bool { return s.active.steps[i].requests > 0 })
		r.foldedSteps[i] = !used && !kept[st.StepKey] && st.StepKey != rest
	}
	at := slices.IndexFunc(r.total.Steps, func(st StepStats) bool { return st.StepKey == rest })
	for i, slot := range r.slots {
		if !r.foldedSteps[slot] {
			continue
		}
		if at < 0 {
			at = len(r.total.Steps)
			r.total.Steps = append(r.total.Steps, StepStats{StepKey: rest})
			r.eachBlock(func(b *block) { b.steps = append(b.steps, stepBlock{}) })
		}
		r.slots[i] = at
	}
	r.total.FoldedLabels += countTrue(r.foldedSteps)
}

func (r *Recorder) foldScenarios() {
	_, kept := r.layout.kept()
	r.foldedScenarios = map[int]bool{}
	for i, sc := range r.total.Scenarios {
		used := sc.Succeeded+sc.Failed+sc.Interrupted > 0 ||
			slices.ContainsFunc(r.shards, func(s *Shard) bool { return s.active.scenarios[i].used() })
		r.foldedScenarios[i] = !used && !kept[sc.Name] && sc.Name != other
	}
	at := slices.IndexFunc(r.total.Scenarios, func(sc ScenarioStats) bool { return sc.Name == other })
	for i, scenario := range r.scene {
		if !r.foldedScenarios[scenario] {
			continue
		}
		if at < 0 {
			at = len(r.total.Scenarios)
			r.total.Scenarios = append(r.total.Scenarios, ScenarioStats{Name: other})
			r.eachBlock(func(b *block) { b.scenarios = append(b.scenarios, scenarioBlock{}) })
		}
		r.scene[i] = at
	}
	r.total.FoldedLabels += countTrue(r.foldedScenarios)
}

func (r *Recorder) eachBlock(do func(*block)) {
	for i, s := range r.shards {
		do(s.active)
		do(r.spare[i])
	}
}

func countTrue(of map[int]bool) (n int64) {
	for _, yes := range of {
		n += one(yes)
	}
	return n
}

// withoutFolded shares all of s but the steps and scenarios that Save has folded,
// which would show as if they had never run.
func (r *Recorder) withoutFolded(s *Summary) *Summary {
	if !r.saved {
		return s
	}
	out := *s
	out.Steps, out.Scenarios = nil, nil
	for i := range s.Steps {
		if !r.foldedSteps[i] {
			out.Steps = append(out.Steps, s.Steps[i])
		}
	}
	for i := range s.Scenarios {
		if !r.foldedScenarios[i] {
			out.Scenarios = append(out.Scenarios, s.Scenarios[i])
		}
	}
	return &out
}
