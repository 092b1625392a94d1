module github.com/moby/swarmkit/v2

go 1.26.8

require github.com/gogo/protobuf v1.3.2
