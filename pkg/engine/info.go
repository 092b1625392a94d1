package engine

import (
	"context"
	"fmt"
	"strings"

	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"
)

// Info is what a host's engine says of itself. Arch is Go's name of the
// architecture ("amd64"), Variant its variant ("v7") or "", Memory is in bytes and
// RootDir the folder that images and volumes live in.
type Info struct {
	Version, APIVersion, OS, Arch, Variant, RootDir string
	Memory                                          int64
	CPUs                                            int
}

// Info asks the engine about itself and its host.
func (e *Engine) Info(ctx context.Context) (Info, error) {
	var version client.ServerVersionResult
	var info client.SystemInfoResult
	eg, asking := errgroup.WithContext(ctx)
	eg.Go(func() (err error) {
		version, err = e.api.ServerVersion(asking, client.ServerVersionOptions{})
		return err
	})
	eg.Go(func() (err error) {
		info, err = e.api.Info(asking, client.InfoOptions{})
		return err
	})
	if err := eg.Wait(); err != nil {
		return Info{}, fmt.Errorf("ask the engine about itself: %w", err)
	}
	return Info{
		Version: version.Version, APIVersion: version.APIVersion, OS: version.Os, Arch: version.Arch,
		Variant: variant(version.Arch, info.Info), RootDir: info.Info.DockerRootDir,
		Memory: info.Info.MemTotal, CPUs: info.Info.NCPU,
	}, nil
}

// variant reads the variant of a 32-bit ARM machine from the kernel's name of it
// ("armv7l"); no other architecture needs one to choose an image.
func variant(arch string, info system.Info) string {
	if arch != "arm" {
		return ""
	}
	v, ok := strings.CutPrefix(info.Architecture, "armv")
	if !ok {
		return ""
	}
	return "v" + strings.TrimRight(v, "lb")
}
