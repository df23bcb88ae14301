# Each prints candidates for what is typed, $1. They run in subshells.

# Jobs by name; if none begins so, by their units. A backslash is printed, and typed, as two.
_outcomectl_jobs()
{
    local typed=${1//\\\\/\\} found files unit
    shopt -s nullglob
    found=(/var/lib/outcomed/state/"$typed"*.json
           /{etc,run,usr/lib}/outcomed/jobs.d/"$typed"*.yaml)
    found=("${found[@]##*/}")
    found=("${found[@]%.*}")
    if ((${#found[@]} == 0)); then
        files=(/{etc,run,usr/lib}/outcomed/jobs.d/*.yaml)
        while read -r unit; do
            [[ $unit == "$typed"* ]] && found+=("$unit")
        done < <(
            ((${#files[@]})) || exit
            sed -n "s/^unit:[ \"']*\([^ \"'#]*\).*/\1/p" "${files[@]}"
            grep -L '^unit:' "${files[@]}" | sed 's|.*/||; s/yaml$/service/'
        ) 2>/dev/null
    fi
    ((${#found[@]})) && printf '%s\n' "${found[@]//\\/\\\\}"
}

# What the daemon has in force; readable by root, who alone may use a sink.
_outcomectl_sinks()
{
    local names
    names=$(grep -o '"name":"[^"]*"' /var/lib/outcomed/spool/sinks/sinks.json 2>/dev/null |
        cut -d'"' -f4)
    compgen -W "$names" -- "$1"
}

# Readline itself is best at files. No other candidate has a slash.
_outcomectl_files()
{
    echo /
}

_outcomectl()
{
    local cur prev words cword comp_args char breaks= word index line=() position head= kept=
    for char in : = @; do
        [[ $COMP_WORDBREAKS == *"$char"* ]] && breaks+=$char
    done
    _comp_initialize -n "$breaks" -- "$@" || return
    for index in "${!words[@]}"; do
        word=${words[index]}
        if [[ $word == --*=* ]]; then
            line+=("${word%%=*}" "${word#*=}")
        else
            line+=("$word")
        fi
        ((index == cword)) && position=$((${#line[@]} - 1))
    done
    local COMP_WORDS=("${line[@]}") COMP_CWORD=$position
    _shtab_outcomectl
    if [[ ${COMPREPLY-} == / ]]; then
        COMPREPLY=()
        compopt -o default
        return
    fi
    # Readline puts a candidate in the place of what follows the last of the breaks.
    [[ $cur == --*=* ]] && head=${cur%%=*}=
    [[ $breaks ]] && kept=${cur%"${cur##*["$breaks"]}"}
    COMPREPLY=("${COMPREPLY[@]/#/"$head"}")
    COMPREPLY=("${COMPREPLY[@]#"$kept"}")
}
