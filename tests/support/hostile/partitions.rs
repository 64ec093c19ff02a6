//! Images with partitions too many, too few, or of the wrong kind.

use super::{NAME, Row, vendor};
use crate::ddi::{Blueprint, Part, good, native};
use ddi::PartitionKind::{Root, RootVerity, RootVeritySig, Unknown, Usr, UsrVerity, UsrVeritySig};
use ddi::{Architecture, Guid, PartitionKind};

const NO_AUTO: u64 = 1 << 63;

fn image() -> Blueprint {
    good(NAME, vendor())
}

fn foreign() -> Architecture {
    if native() == Architecture::Arm64 { Architecture::X86_64 } else { Architecture::Arm64 }
}

pub fn rows() -> Vec<Row> {
    let mut rows = extra();
    for (kind, name) in [(Root, "root"), (RootVerity, "hash tree"), (RootVeritySig, "signature")] {
        let duplicate = |what: &str, image| Row::image("duplicate-partition", leak(format!("{what} {name}")), image);
        rows.push(duplicate("a second, earlier by label:", image().duplicate(kind, "aaa")));
        rows.push(duplicate("a second, later by label:", image().duplicate(kind, "zzz")));
        rows.push(duplicate("a second, earlier on disk:", image().duplicate(kind, "zzz").reverse()));
        let flagged = image().change(kind, |part| part.flags |= NO_AUTO);
        rows.push(Row::image("no-auto", leak(format!("no-auto: {name}")), flagged));
        let passed_over = image().change(kind, |part| part.name = "_empty".into());
        rows.push(Row::image("no-auto", leak(format!("named _empty: {name}")), passed_over));
    }
    rows.extend(missing());
    rows.extend(usr());
    rows
}

/// Names of rows live as long as the test.
fn leak(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

fn extra() -> Vec<Row> {
    let per_architecture = [Root, RootVerity, RootVeritySig, Usr, UsrVerity, UsrVeritySig];
    let others = PartitionKind::known().filter(|kind| !per_architecture.contains(kind));
    let kinds = others.chain([Unknown(Guid::from_bytes([0x42; 16]))]);
    let mut rows: Vec<_> = kinds
        .map(|kind| {
            let part = Part::new(kind, &[0; 4096]);
            Row::image("extra-partition", leak(format!("a further partition: {}", part.name)), image().add(part))
        })
        .collect();
    let foreign_root =
        |kind: PartitionKind| Part { type_guid: kind.type_guid(foreign()), ..Part::new(kind, &[0; 4096]) };
    rows.push(Row::image("extra-partition", "a root for another architecture beside", image().add(foreign_root(Root))));
    rows.push(Row::image("extra-partition", "the same in front", image().add_first(foreign_root(Root))));
    rows.push(Row::image("extra-partition", "a foreign hash tree beside", image().add(foreign_root(RootVerity))));
    rows
}

fn missing() -> Vec<Row> {
    let retyped =
        [Root, RootVerity, RootVeritySig].into_iter().fold(image(), |image, kind| image.retype(kind, kind, foreign()));
    let flagged = image().flags(Root, 0);
    assert!(flagged.parts[0].flags == 0);
    vec![
        Row::image("no-verity", "no hash tree", image().remove(RootVerity)),
        Row::image("no-verity", "no root", image().remove(Root)),
        Row::image("no-verity", "a root alone", image().remove(RootVerity).remove(RootVeritySig)),
        Row::image("no-signature", "no signature", image().remove(RootVeritySig)),
        Row::image("no-verity", "no partition at all", Blueprint { parts: Vec::new(), ..image() }),
        Row::image("wrong-architecture", "all partitions for another architecture", retyped),
        Row::image(
            "wrong-architecture",
            "an unsigned image for another architecture",
            image().retype(Root, Root, foreign()).remove(RootVerity).remove(RootVeritySig),
        ),
    ]
}

fn usr() -> Vec<Row> {
    let pairs = [(Root, Usr), (RootVerity, UsrVerity), (RootVeritySig, UsrVeritySig)];
    let retyped =
        |architecture| pairs.into_iter().fold(image(), |image, (from, to)| image.retype(from, to, architecture));
    vec![
        Row::image("usr-partition", "a signed /usr image", retyped(native())),
        Row::image("usr-partition", "a signed /usr image for another architecture", retyped(foreign())),
        Row::image("usr-partition", "a bare /usr partition beside", image().add(Part::new(Usr, &[0; 4096]))),
        Row::image("usr-partition", "a hash tree of /usr beside", image().add(Part::new(UsrVerity, &[0; 4096]))),
        Row::image(
            "usr-partition",
            "a signature of /usr beside",
            image().add_first(Part::new(UsrVeritySig, &[0; 4096])),
        ),
    ]
}
