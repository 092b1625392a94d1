module github.com/docker/docker

go 1.26.8
