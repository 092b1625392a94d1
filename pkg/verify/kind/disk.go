package kind

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Disk looks at the room on the host, with df and /proc/meminfo.
type Disk struct {
	Paths  []string `yaml:"paths" help:"Folders on the host whose file systems are looked at. Default: [/, /var/lib/docker]; one that is not there is left out."`
	Warn   float64  `yaml:"warn" jsonschema:"exclusiveMinimum=0" help:"Warn from this many percent in use, bytes or inodes. Default: 80."`
	Fail   float64  `yaml:"fail" jsonschema:"exclusiveMinimum=0" help:"Fail from this many percent in use. Default: 90."`
	Memory float64  `yaml:"memory" help:"Fail when less than this percentage of the memory is available. Default: 0, not looked at."`
}

// Manner is how it is looked at.
func (d *Disk) Manner() Manner { return calm(OnHost) }

// Look asks the host.
func (d *Disk) Look(s *Sight) {
	s.at("the host")
	paths, optional := d.Paths, false
	if len(paths) == 0 {
		paths, optional = []string{"/", "/var/lib/docker"}, true
	}
	worst := 0.0
	for i, path := range paths {
		for _, flag := range []string{"-Pk", "-Pi"} {
			out, err := s.Ground.Run(s.Ctx, []string{"df", flag, "--", path}, nil)
			if err != nil {
				s.blind(err)
				return
			}
			s.saw("df "+flag+" "+path, string(out.Stdout)+string(out.Stderr))
			if out.Exit != 0 && optional && i > 0 {
				break
			}
			worst = max(worst, d.compare(s, path, flag, string(out.Stdout)+string(out.Stderr)))
		}
	}
	d.memory(s)
	s.settle("pass", fmt.Sprintf("less than %g %% in use", cmp.Or(d.Warn, 80)), fmt.Sprintf("%.0f %% at most", worst), "")
}

// compare reads the line of one file system: what is used of what is usable.
func (d *Disk) compare(s *Sight, path, flag, out string) float64 {
	what := map[string]string{"-Pk": "bytes", "-Pi": "inodes"}[flag]
	lines := strings.Split(strings.TrimSpace(out), "\n")
	fields := strings.Fields(lines[len(lines)-1])
	if len(fields) < 6 {
		s.know("disk.data", false, "figures of "+path, quoted(out))
		return 0
	}
	used, err := strconv.ParseFloat(fields[2], 64)
	free, wrong := strconv.ParseFloat(fields[3], 64)
	if what == "inodes" && (fields[2] == "-" || err == nil && wrong == nil && used+free == 0) {
		return 0 // btrfs and others have no fixed number of inodes
	}
	if !s.know("disk.data", err == nil && wrong == nil && used+free > 0, "figures of "+path, quoted(out)) {
		return 0
	}
	percent := 100 * used / (used + free)
	found := fmt.Sprintf("%.0f %% of the %s of %s in use", percent, what, path)
	s.need("disk.fail", percent < cmp.Or(d.Fail, 90), fmt.Sprintf("less than %g %%", cmp.Or(d.Fail, 90)), found, "docker image prune frees some")
	s.want("disk.warn", percent < cmp.Or(d.Warn, 80), fmt.Sprintf("less than %g %%", cmp.Or(d.Warn, 80)), found, "docker image prune frees some")
	return percent
}

func (d *Disk) memory(s *Sight) {
	if d.Memory == 0 {
		return
	}
	out, err := s.Ground.Run(s.Ctx, []string{"cat", "/proc/meminfo"}, nil)
	if err != nil {
		s.blind(err)
		return
	}
	figures := map[string]float64{}
	for _, line := range strings.Split(string(out.Stdout), "\n") {
		name, rest, _ := strings.Cut(line, ":")
		if fields := strings.Fields(rest); len(fields) > 0 {
			figures[name], _ = strconv.ParseFloat(fields[0], 64)
		}
	}
	total := figures["MemTotal"]
	if !s.know("disk.memory-data", total > 0 && figures["MemAvailable"] > 0, "MemAvailable in /proc/meminfo", quoted(string(out.Stdout))) {
		return
	}
	percent := 100 * figures["MemAvailable"] / total
	s.saw("MemAvailable", fmt.Sprintf("%.0f %%", percent))
	s.need("disk.memory", percent >= d.Memory, fmt.Sprintf("%g %% of the memory available", d.Memory), fmt.Sprintf("%.0f %%", percent))
}
