package lab

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// applets are the names that the base image has for busybox.
var applets = []string{"sh", "cat", "cp", "dd", "echo", "env", "grep", "head", "id", "ls", "mkdir", "rm", "seq", "sha256sum", "sleep", "test", "touch", "tr", "uname", "wc"}

// PushBusybox makes the registry have busybox:1 for amd64 and arm64, of Debian's
// static packages, under the name that Docker Hub has for it. A registry that has
// it is left alone.
func (l *Lab) PushBusybox(ctx context.Context, registry *Registry) error {
	ref, err := name.ParseReference(registry.Address + "/library/busybox:1")
	if err != nil {
		return err
	}
	if _, err := remote.Head(ref, remote.WithContext(ctx)); err == nil {
		return nil
	}
	l.say("making the image busybox:1 for amd64 and arm64 from Debian packages")
	index := v1.ImageIndex(empty.Index)
	for _, arch := range []string{"amd64", "arm64"} {
		image, err := l.busybox(ctx, arch)
		if err != nil {
			return err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	return remote.WriteIndex(ref, index, remote.WithContext(ctx))
}

// busybox is the image of one architecture.
func (l *Lab) busybox(ctx context.Context, arch string) (v1.Image, error) {
	program, err := l.busyboxProgram(ctx, arch)
	if err != nil {
		return nil, err
	}
	var content bytes.Buffer
	archive := tar.NewWriter(&content)
	entries := []*tar.Header{
		{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755}, {Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}, {Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(program))},
	}
	for _, applet := range applets {
		entries = append(entries, &tar.Header{Name: "bin/" + applet, Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777})
	}
	for _, header := range entries {
		if err := archive.WriteHeader(header); err != nil {
			return nil, err
		}
		if header.Size > 0 {
			if _, err := archive.Write(program); err != nil {
				return nil, err
			}
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content.Bytes())), nil })
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch
	config.Config.Env, config.Config.Cmd = []string{"PATH=/bin"}, []string{"sh"}
	return mutate.ConfigFile(image, config)
}

// busyboxProgram takes the program out of Debian's package for an architecture,
// without telling the machine's own apt about that architecture.
func (l *Lab) busyboxProgram(ctx context.Context, arch string) ([]byte, error) {
	dir, err := os.MkdirTemp(l.Dir, "busybox-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	for _, folder := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			return nil, err
		}
	}
	settings := []string{
		"APT::Architecture=" + arch, "APT::Architectures::=" + arch, "Dir::State::lists=" + dir + "/lists", "Dir::Cache=" + dir + "/cache",
		"Dir::State::status=/dev/null", "APT::Sandbox::User=root",
	}
	for _, args := range [][]string{{"update", "-qq"}, {"download", "-qq", "busybox-static"}} {
		for _, s := range settings {
			args = append(args, "-o", s)
		}
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Dir = dir
		if err := l.logged(cmd, "busybox.log"); err != nil {
			return nil, err
		}
	}
	packages, _ := filepath.Glob(filepath.Join(dir, "*.deb"))
	if len(packages) != 1 {
		return nil, fmt.Errorf("apt-get left %d packages of busybox-static: %s", len(packages), strings.Join(packages, " "))
	}
	out := filepath.Join(dir, "root")
	if err := l.logged(exec.CommandContext(ctx, "dpkg-deb", "--extract", packages[0], out), "busybox.log"); err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(out, "bin", "busybox"))
}
