# TAP for script tests: source it, call `check NAME COMMAND...` for each case and `skip NAME REASON` where one cannot run, then
# `finish`. What a failing command printed is shown after its line.
tap_count=0
tap_failed=0

check()
{
    local name=$1 output
    shift
    tap_count=$((tap_count + 1))
    if output=$("$@" 2>&1 </dev/null); then
        echo "ok $tap_count - $name"
    else
        tap_failed=$((tap_failed + 1))
        echo "not ok $tap_count - $name"
        printf '%s\n' "$output" | sed 's/^/# /'
    fi
}

skip()
{
    tap_count=$((tap_count + 1))
    echo "ok $tap_count - $1 # SKIP $2"
}

finish()
{
    echo "1..$tap_count"
    [ "$tap_failed" -eq 0 ]
    exit
}
