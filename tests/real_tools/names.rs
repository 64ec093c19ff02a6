//! The order of names.

use ddi::compare_versions;
use support::toolbox::Toolbox;

/// The order of names is what `systemd-analyze compare-versions` says.
pub(crate) fn systemd_orders_the_names_in_the_same_way() {
    let Some(toolbox) = Toolbox::find() else { return };
    let names = [
        "k3s_1.10",
        "k3s_1.9",
        "k3s_1.10~rc1",
        "k3s_1.10-1",
        "k3s_1.10^post",
        "k3s_1.10.0",
        "k3s_1.10+build",
        "a",
        "k3s",
        "b_2",
        "B_10",
        "b_02",
        "k3s_v2",
        "k3s_1.09",
        "0",
        "00",
        "1a",
        "1b",
        "x~~1",
        "x~1~",
        "x-.1",
        "x^1^2",
        "x..1",
        "x__1",
        "\u{e4}1",
        "1.",
        "~",
        "",
    ];
    let mut script = String::new();
    for a in names {
        for b in names {
            script = format!("{script}r=0; systemd-analyze compare-versions '{a}' '{b}' >/dev/null || r=$?; echo $r\n");
        }
    }
    let said = toolbox.succeed(&script, &[]);
    let mut lines = said.lines();
    for a in names {
        for b in names {
            // 0 is equal, 11 is greater, 12 is less.
            let theirs = match lines.next().unwrap() {
                "0" => std::cmp::Ordering::Equal,
                "11" => std::cmp::Ordering::Greater,
                "12" => std::cmp::Ordering::Less,
                other => panic!("{other}"),
            };
            assert_eq!(compare_versions(a, b), theirs, "{a} {b}");
        }
    }
    assert_eq!(lines.next(), None);
}
