#!/bin/sh
# Writes the page into a folder: build.sh FOLDER VERSION. Assets are named by
# their content, so a browser may keep them for ever.
set -eu
from=$(dirname "$0")/src
mkdir -p "$1/assets"
page=$(cat "$from/index.html")
for file in app.js style.css; do
  sum=$(sha256sum "$from/$file" | cut -c 1-12)
  name=${file%.*}.$sum.${file##*.}
  cp "$from/$file" "$1/assets/$name"
  page=$(printf '%s\n' "$page" | sed "s|/assets/$file\"|/assets/$name\"|")
done
printf '%s\n' "$page" | sed "s|@VERSION@|$2|" > "$1/index.html"
