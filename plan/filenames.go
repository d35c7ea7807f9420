package plan

import "slices"

// FileNames are the files that a plan's scenarios read, each once, as the plan
// names them, in its order: data files, body files, files of multipart forms.
// Certificates are not among them: those are each node's own.
func (p *Plan) FileNames() []string {
	var names []string
	add := func(name string) {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for i := range p.Scenarios {
		sc := &p.Scenarios[i]
		if sc.DataFile != nil {
			add(sc.DataFile.Path)
		}
		for j := range sc.Steps {
			r := &sc.Steps[j].Request
			add(r.BodyFile)
			for _, part := range r.Multipart {
				add(part.File)
			}
		}
	}
	return names
}
