package kind

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// GPU asks nvidia-smi inside the units what they see.
type GPU struct {
	Service string  `yaml:"service" jsonschema:"required" help:"Service whose units use a GPU."`
	Count   int     `yaml:"count" jsonschema:"exclusiveMinimum=0" help:"How many GPUs each unit has to see. Default: 1."`
	Memory  float64 `yaml:"memory" jsonschema:"exclusiveMinimum=0" help:"Share of a GPU's memory that may be used. Default: 1, any."`
}

// Manner is how it is looked at.
func (g *GPU) Manner() Manner { return calm(InUnit) }

// Check tells what cannot be asked.
func (g *GPU) Check() error { return share("memory", g.Memory) }

// Look asks every unit.
func (g *GPU) Look(s *Sight) {
	units, err := s.running(s.Ctx, g.Service)
	if err != nil {
		s.blind(err)
		return
	}
	for _, u := range units {
		s.at(u.Name)
		out, exit, ok := s.run(u, []string{"nvidia-smi", "--query-gpu=uuid,memory.used,memory.total", "--format=csv,noheader,nounits"}, nil, nil)
		if !ok || !s.need("gpu.driver", exit == 0, "a GPU driver that answers", quoted(out)) {
			continue
		}
		g.compare(s, strings.Split(out, "\n"))
	}
}

func (g *GPU) compare(s *Sight, lines []string) {
	seen := 0
	for _, line := range lines {
		fields := strings.Split(line, ",")
		if len(fields) != 3 || !strings.HasPrefix(strings.TrimSpace(fields[0]), "GPU-") {
			continue
		}
		seen++
		used, err := strconv.ParseFloat(strings.TrimSpace(fields[1]), 64)
		total, wrong := strconv.ParseFloat(strings.TrimSpace(fields[2]), 64)
		if g.Memory == 0 || !s.know("gpu.figures", err == nil && wrong == nil && total > 0, "figures of the memory", line) {
			continue
		}
		s.need("gpu.memory", used/total <= g.Memory, fmt.Sprintf("at most %g of the memory in use", g.Memory), fmt.Sprintf("%.2f of it", used/total))
	}
	count := cmp.Or(g.Count, 1)
	s.need("gpu.count", seen >= count, fmt.Sprintf("%d GPUs", count), fmt.Sprintf("%d GPUs", seen))
}

func jsonText(text string) string {
	data, _ := json.Marshal(text) // a string always has a form
	return string(data)
}
