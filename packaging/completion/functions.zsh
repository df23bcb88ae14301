# Jobs by name; if none begins so, by their units.
_outcomectl_jobs() {
  local -aU found files unnamed
  files=(/{etc,run,usr/lib}/outcomed/jobs.d/*.yaml(N))
  found=(/var/lib/outcomed/state/*.json(N:t:r) ${files:t:r})
  compadd "$@" -a found && return
  (( $#files )) || return
  unnamed=(${(f)"$(grep -L '^unit:' $files 2>/dev/null)"})
  found=(
    ${(f)"$(sed -n "s/^unit:[ \"']*\([^ \"'#]*\).*/\1/p" $files 2>/dev/null)"}
    ${^${unnamed:t:r}}.service
  )
  compadd "$@" -a found
}

# What the daemon has in force; readable by root, who alone may use a sink.
_outcomectl_sinks() {
  local -aU found
  found=(${(f)"$(grep -o '"name":"[^"]*"' /var/lib/outcomed/spool/sinks/sinks.json 2>/dev/null |
    cut -d'"' -f4)"})
  compadd "$@" -a found
}

_outcomectl_files() {
  _files "$@"
}
