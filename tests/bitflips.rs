#![allow(clippy::unwrap_used)]
mod support;
use sextant::build::{DdiBuilder, VerityParams};
use sextant::image::Ddi;
use sextant::io::ReadAt;
use sextant::trust::{SealedFile, Source, TrustStore};
use sextant::verify::{IntactImage, SignedRoot};
use support::compact::compact;
use support::ddi::*;
use support::keys;
use support::trees::{Tree, noise};

#[test]
fn experiment() {
    for authority in [keys::rsa("Vendor"), keys::ec("Vendor")] {
        let params = VerityParams { data_block_size: 512, hash_block_size: 512, ..VerityParams::derived(b"flip") };
        let builder = DdiBuilder::new("flip").verity(params).threads(1);
        let tree = Tree::sysext("flip").file("usr/share/noise", &noise(9000));
        let image = compact(&Blueprint::build(&builder, &tree.squashfs(), Some(authority)));
        println!("{} bytes {:?}", image.bytes.len(), image.places);
        let file = SealedFile { path: "v".into(), content: Ok(authority.pem()) };
        let trust = TrustStore::decide(vec![file.offer(Source::File)], &Default::default());
        let verify = |bytes: &Vec<u8>| -> Result<(String, Vec<u8>), String> {
            let ddi = Ddi::read(bytes, native()).map_err(|e| e.to_string())?;
            let signed = SignedRoot::verify(ddi.claim(), &trust).map_err(|e| e.to_string())?;
            let intact = IntactImage::check(bytes, &ddi, &signed, 1).map_err(|e| e.to_string())?;
            let fs = intact.filesystem().unwrap();
            let mut out = vec![0; fs.len() as usize];
            fs.read_exact_at(&mut out, 0).unwrap();
            Ok((signed.root_hash().to_string(), out))
        };
        verify(&image.bytes).unwrap();
        let started = std::time::Instant::now();
        let mut bytes = image.bytes.clone();
        let sig = image.place(sextant::image::PartitionKind::RootVeritySig);
        let text: Vec<u8> = bytes[sig.clone()].iter().copied().take_while(|b| *b != 0).collect();
        let text = String::from_utf8(text).unwrap();
        println!("{text}");
        let b64 = sig.start + text.find("\"signature\":\"").unwrap() + 13;
        let mut last = 0;
        for byte in 0..bytes.len() {
            if byte == sig.start || byte == sig.end {
                println!("{} {:?}", byte, started.elapsed());
            }
            for bit in 0..8 {
                bytes[byte] ^= 1 << bit;
                if verify(&bytes).is_ok() {
                    if byte >= b64 && byte < sig.start + text.len() {
                        use base64::Engine;
                        let v: serde_json::Value =
                            serde_json::from_slice(&bytes[sig.start..sig.start + text.len()]).unwrap();
                        let der =
                            base64::engine::general_purpose::STANDARD.decode(v["signature"].as_str().unwrap()).unwrap();
                        let o: serde_json::Value = serde_json::from_str(&text).unwrap();
                        let orig =
                            base64::engine::general_purpose::STANDARD.decode(o["signature"].as_str().unwrap()).unwrap();
                        if last == 0 {
                            std::fs::write(format!("/tmp/props-{}.der", orig.len()), &orig).unwrap();
                            last = 1;
                        }
                        let d: Vec<_> = orig
                            .iter()
                            .zip(&der)
                            .enumerate()
                            .filter(|(_, (a, b))| a != b)
                            .map(|(i, (a, b))| format!("{i}:{a:02x}>{b:02x}"))
                            .collect();
                        println!("der {d:?}");
                    } else {
                        println!("byte {byte} (sig {}) bit {bit}", byte as i64 - sig.start as i64);
                    }
                }
                bytes[byte] ^= 1 << bit;
            }
        }
        println!("{:?}", started.elapsed());
    }
}
