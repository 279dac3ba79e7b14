//! Bad input, run against the real command: it ends with 1, says where, what was expected and what
//! was found, and leaves nothing behind.

mod common;

use common::{Folder, gzip, idx, npy, png, run};

/// A case: what it is called, the command, and what stderr must say.
type Case<'a> = (&'a str, &'a [&'a str], &'a [&'a str]);

fn refused(folder: &Folder, cases: &[Case<'_>]) {
    let before = folder.files();
    let mut failures = Vec::new();
    for (name, args, expected) in cases {
        let ran = run(folder.path(), args);
        let mut fail = |what: String| failures.push(format!("{name}: {what}\n{}", ran.stderr));
        if ran.code != Some(1) {
            fail(format!("exit code {:?}", ran.code));
        }
        if !ran.stderr.lines().any(|l| l.starts_with("error: ")) {
            fail("there is no line that begins with \"error: \"".to_owned());
        }
        for text in *expected {
            if !ran.stderr.contains(text) {
                fail(format!("does not say {text:?}"));
            }
        }
        if args[0] != "run" && !ran.stdout.is_empty() {
            fail(format!("printed {:?}", ran.stdout));
        }
        let after = folder.files();
        let new = after
            .iter()
            .filter(|(path, bytes)| before.get(*path) != Some(*bytes));
        for (path, _) in new {
            fail(format!("left {} behind", path.display()));
        }
        for path in before.keys().filter(|p| !after.contains_key(*p)) {
            fail(format!("removed {}", path.display()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A table of `rows` rows with the header `x,z,y`.
fn table(rows: usize, y: impl Fn(usize) -> String) -> String {
    let row = |i: usize| format!("{}.5,{},{}\n", i * 7 % 31, i * 3 % 17, y(i));
    "x,z,y\n".to_owned() + &(0..rows).map(row).collect::<String>()
}

#[test]
fn training_data() {
    let folder = Folder::new();
    let class = |i: usize| ["a", "b"][usize::from(i % 7 > 3)].to_owned();
    let good = table(60, class);
    folder.put("good.csv", &good);
    folder.put("empty.csv", "");
    folder.put("blank.csv", " \n\n");
    folder.put("header.csv", "x,z,y\n");
    folder.put("ragged.csv", good.replacen("7.5,3,", "7.5,", 1));
    folder.put("one_class.csv", table(60, |_| "a".to_owned()));
    folder.put("no_target.csv", table(60, |_| String::new()));
    folder.put(
        "missing.csv",
        "x,z,y\n".to_owned() + &",,a\n,,b\n".repeat(30),
    );
    folder.put("inf.csv", good.replacen("7.5,3,", "inf,3,", 1));
    folder.put("nan.csv", table(60, |_| "NaN".to_owned()));
    folder.put("one_row.csv", table(1, class));
    folder.put("ten_thousand.csv", table(10_000, |i| format!("class {i}")));
    folder.put(
        "latin1.csv",
        [b"x,z,y\n1,2,caf\xe9\n".to_vec(), good.clone().into_bytes()].concat(),
    );
    folder.put("utf16.csv", b"\xff\xfex\0,\0y\0\n\0");
    folder.put("twice.csv", good.replacen("x,z,y", "x,x,y", 1));
    let gz = gzip(good.as_bytes());
    folder.put("cut.csv.gz", &gz[..gz.len() / 2]);
    folder.put("text.parquet", &good);
    let parquet = common::parquet(&[Some(1.0); 60], &["a"; 60]);
    let npz = common::npz(&[("x", npy(&[60, 3], &[1.0; 180]))]);
    folder.put("cut.parquet", &parquet[..parquet.len() - 20]);
    folder.put("text.npz", &good);
    folder.put("cut.npz", &npz[..npz.len() / 2]);
    folder.put("cut.npy", &npy(&[60, 3], &[1.0; 180])[..200]);
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "no such file",
            "god.csv",
            &["god.csv: ", "no such file", "hint: ", "\"good.csv\""],
        ),
        ("empty", "empty.csv", &["empty.csv: the file is empty"]),
        ("blank", "blank.csv", &["blank.csv: the file is empty"]),
        ("header alone", "header.csv", &["header.csv", "no rows"]),
        (
            "ragged",
            "ragged.csv",
            &["ragged.csv:3: expected 3 fields, found 2", "hint: "],
        ),
        (
            "one class",
            "one_class.csv",
            &["column \"y\": expected at least 2 classes, found only \"a\""],
        ),
        (
            "no target",
            "no_target.csv",
            &["column \"y\": the target has no values"],
        ),
        (
            "NaN target",
            "nan.csv",
            &["column \"y\": the target has no values"],
        ),
        (
            "no values",
            "missing.csv",
            &["no column is left", "\"x\"", "\"z\""],
        ),
        (
            "infinite",
            "inf.csv",
            &["inf.csv:3: column \"x\": expected a finite number, found \"inf\""],
        ),
        ("one row", "one_row.csv", &["y"]),
        (
            "10,000 classes",
            "ten_thousand.csv",
            &["column \"y\": expected at most 1000 classes, found 10000"],
        ),
        (
            "not UTF-8",
            "latin1.csv",
            &["latin1.csv:2: expected UTF-8 text, but field 3 is not"],
        ),
        (
            "UTF-16",
            "utf16.csv",
            &["utf16.csv:1: expected UTF-8 text, found UTF-16"],
        ),
        (
            "a name twice",
            "twice.csv",
            &["column \"x\": the name is given to two columns"],
        ),
        (
            "gzip cut",
            "cut.csv.gz",
            &["cut.csv.gz: ", "the file ends early"],
        ),
        ("no Parquet", "text.parquet", &["text.parquet: "]),
        ("Parquet cut", "cut.parquet", &["cut.parquet: "]),
        ("no archive", "text.npz", &["text.npz: "]),
        ("archive cut", "cut.npz", &["cut.npz: "]),
        (
            "array cut",
            "cut.npy",
            &["cut.npy: ", "needs 720 bytes, found 72"],
        ),
    ];
    for verb in ["measure", "grow"] {
        for (name, file, expected) in cases {
            // There is nothing to learn, which can be said.
            if verb == "measure" && ["one class", "one row"].contains(name) {
                continue;
            }
            let args = [verb, file, "--target", "y"];
            refused(&folder, &[(&format!("{verb}, {name}"), &args, expected)]);
        }
    }
}

#[test]
fn options_that_match_nothing() {
    let folder = Folder::new();
    folder.put(
        "good.csv",
        table(60, |i| ["a", "b"][usize::from(i % 7 > 3)].to_owned()),
    );
    for verb in ["measure", "grow"] {
        let with = |more: &[&'static str]| [&[verb, "good.csv"], more].concat();
        let cases: &[(&str, Vec<&str>, &[&str])] = &[
            (
                "wrong target",
                with(&["--target", "Y"]),
                &["there is no column \"Y\"", "did you mean \"y\"?"],
            ),
            ("no target", with(&[]), &["target"]),
            (
                "drop",
                with(&["--target", "y", "--drop-column", "w"]),
                &["there is no column \"w\""],
            ),
            (
                "keep",
                with(&["--target", "y", "--keep-column", "zz"]),
                &["there is no column \"zz\"", "\"z\""],
            ),
            (
                "numeric",
                with(&["--target", "y", "--numeric", "q"]),
                &["there is no column \"q\""],
            ),
            (
                "categorical",
                with(&["--target", "y", "--categorical", "q"]),
                &["\"q\""],
            ),
            (
                "no column left",
                with(&["--target", "y", "--drop-column", "x", "--drop-column", "z"]),
                &["no column is left"],
            ),
            (
                "text as numbers",
                with(&["--target", "x", "--numeric", "y"]),
                &["good.csv:2: column \"y\": expected a finite number, found \"a\""],
            ),
            (
                "text to predict as a number",
                with(&["--target", "y", "--task", "number"]),
                &["column \"y\": expected a number to predict, found text"],
            ),
        ];
        for (name, args, expected) in cases {
            refused(&folder, &[(&format!("{verb}, {name}"), args, expected)]);
        }
    }
}

#[test]
fn images_to_train_on() {
    let folder = Folder::new();
    let good = png(2, &[1, 2, 3, 4]);
    for i in 0..4 {
        folder.put(&format!("broken/a/{i}.png"), &good);
        folder.put(&format!("broken/b/{i}.png"), &good);
        folder.put(&format!("sizes/a/{i}.png"), &good);
        folder.put(&format!("sizes/b/{i}.png"), png(3, &[0; 9]));
    }
    folder.put("broken/b/9.png", b"not an image at all");
    folder.put(
        "idx/train-images-idx3-ubyte",
        &idx(&[4, 2, 2], &[0; 16])[..20],
    );
    folder.put("idx/train-labels-idx1-ubyte", idx(&[4], &[0, 1, 0, 1]));
    folder.put("counts/train-images-idx3-ubyte", idx(&[4, 2, 2], &[0; 16]));
    folder.put("counts/train-labels-idx1-ubyte", idx(&[3], &[0, 1, 0]));
    folder.put("nothing/readme.txt", b"hello");
    let cases: &[Case<'_>] = &[
        (
            "no image",
            &["grow", "broken"],
            &["broken/b/9.png: expected an image"],
        ),
        (
            "two sizes",
            &["grow", "sizes"],
            &["sizes/b/0.png: expected 2 x 2 pixels", "found 3 x 3"],
        ),
        (
            "IDX cut",
            &["grow", "idx"],
            &[
                "train-images-idx3-ubyte: the file ends early",
                "needs 16 bytes, found 4",
            ],
        ),
        (
            "counts",
            &["grow", "counts"],
            &["expected one label per sample, found inputs [4, 2, 2] and labels [3]"],
        ),
        (
            "no images",
            &["grow", "nothing"],
            &["nothing: expected images in a folder per class, IDX files or those of CIFAR-10"],
        ),
    ];
    refused(&folder, cases);
}

#[test]
fn places_to_write() {
    let folder = Folder::new();
    folder.put(
        "good.csv",
        table(60, |i| ["a", "b"][usize::from(i % 7 > 3)].to_owned()),
    );
    folder.put("m.bantam", common::table_model());
    folder.put("rows.csv", "age,sex\n30,male\n");
    folder.put("odd.csv", "age,sex\n30,male\n31,other\n");
    folder.put("file", "an ordinary file");
    folder.put("earlier.csv", "an earlier result");
    let grow = ["grow", "good.csv", "--target", "y"];
    let with = |more: &[&'static str]| [&grow, more].concat();
    let (runs, out) = (
        with(&["--runs", "file/runs"]),
        with(&["--out", "file/m.bantam"]),
    );
    let device = with(&["--out", "/dev/full"]);
    let cases: &[Case<'_>] = &[
        ("runs under a file", &runs, &["file/runs"]),
        ("out under a file", &out, &["file/m.bantam: "]),
        (
            "out to a device",
            &device,
            &["/dev/full: expected a file or a new name, found a device"],
        ),
        (
            "answers under a file",
            &["run", "m.bantam", "rows.csv", "-o", "file/a.csv"],
            &["file/a.csv: "],
        ),
        (
            "answers into no folder",
            &["run", "m.bantam", "rows.csv", "-o", "no/a.csv"],
            &["no/a.csv: "],
        ),
        (
            "answers to a folder",
            &["run", "m.bantam", "rows.csv", "-o", "."],
            &["found a folder"],
        ),
        (
            "a bad row",
            &["run", "m.bantam", "odd.csv", "-o", "new.csv"],
            &["odd.csv:3: "],
        ),
        (
            "a bad row over an earlier file",
            &["run", "m.bantam", "odd.csv", "-o", "earlier.csv"],
            &["odd.csv:3: "],
        ),
    ];
    refused(&folder, cases);
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk() {
    let folder = Folder::new();
    folder.put("m.bantam", common::table_model());
    folder.put("rows.csv", "age,sex\n30,male\n");
    let cases: &[Case<'_>] = &[(
        "a full device",
        &["run", "m.bantam", "rows.csv", "-o", "/dev/full"],
        &["/dev/full: ", "No space left on device"],
    )];
    refused(&folder, cases);
    for args in [
        &["run", "m.bantam", "rows.csv"][..],
        &["inspect", "m.bantam"],
    ] {
        let mut command = common::command(folder.path(), args);
        command.stdout(
            std::fs::File::options()
                .write(true)
                .open("/dev/full")
                .unwrap(),
        );
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        assert!(
            stderr.contains("No space left on device"),
            "{args:?}: {stderr}"
        );
    }
}

#[test]
fn packed_networks() {
    let folder = Folder::new();
    let good = common::table_model();
    folder.put("rows.csv", "age,sex\n30,male\n");
    folder.put("good.bantam", &good);
    folder.put("empty.bantam", b"");
    folder.put("text.bantam", b"this is no network");
    folder.put("long.bantam", [good.as_slice(), b"x"].concat());
    folder.put("folder.bantam/file", b"");
    let cases: &[Case<'_>] = &[
        (
            "no such file",
            &["inspect", "god.bantam"],
            &["god.bantam: "],
        ),
        (
            "empty",
            &["inspect", "empty.bantam"],
            &["empty.bantam: not a .bantam file", "hint: "],
        ),
        (
            "text",
            &["inspect", "text.bantam"],
            &["text.bantam: not a .bantam file (at byte 0)"],
        ),
        ("longer", &["inspect", "long.bantam"], &["long.bantam: "]),
        (
            "folder",
            &["inspect", "folder.bantam"],
            &["expected a file with a network, found a folder"],
        ),
        (
            "run no such file",
            &["run", "god.bantam", "rows.csv"],
            &["god.bantam: "],
        ),
        (
            "run text",
            &["run", "text.bantam", "rows.csv"],
            &["text.bantam: not a .bantam file"],
        ),
        (
            "a table as a network",
            &["run", "rows.csv", "good.bantam"],
            &["rows.csv: not a .bantam file"],
        ),
    ];
    refused(&folder, cases);
    // Cut anywhere or with any byte changed, it is refused; a sample of the places is enough here.
    for i in (0..good.len()).step_by(7) {
        folder.put("bad.bantam", &good[..i]);
        let cut = run(folder.path(), &["inspect", "bad.bantam"]);
        assert_eq!(cut.code, Some(1), "cut to {i}: {}", cut.stderr);
        assert!(
            cut.stderr.starts_with("error: bad.bantam: "),
            "cut to {i}: {}",
            cut.stderr
        );
        let mut flipped = good.clone();
        flipped[i] ^= 1 << (i % 8);
        folder.put("bad.bantam", &flipped);
        let ran = run(folder.path(), &["run", "bad.bantam", "rows.csv"]);
        // The byte of flags that a reader may ignore is at 11.
        let expected = if i == 11 { Some(0) } else { Some(1) };
        assert_eq!(ran.code, expected, "byte {i} flipped: {}", ran.stderr);
    }
}

#[test]
fn data_to_answer() {
    let folder = Folder::new();
    folder.put("table.bantam", common::table_model());
    folder.put("image.bantam", common::image_model());
    folder.put("array.bantam", common::array_model());
    folder.put("no_age.csv", "ages,sex\n30,male\n");
    folder.put("no_header.csv", "30,male\n20,female\n");
    folder.put("unseen.csv", "age,sex\n30,male\n20,female\n10,other\n");
    folder.put("text.csv", "age,sex\nold,male\n");
    folder.put("ragged.csv", "age,sex\n30,male\n30\n");
    folder.put("class.csv", "age,sex,survived\n30,male,perhaps\n");
    folder.put("empty.csv", "");
    folder.put("latin1.csv", b"age,sex\n30,m\xe4le\n");
    folder.put("big.png", png(3, &[0; 9]));
    folder.put("bad.png", b"no image");
    folder.put("small.npy", npy(&[2, 2], &[0.0; 4]));
    folder.put(
        "nan.npy",
        npy(&[2, 3], &[0.0, 0.0, 0.0, 0.0, f32::NAN, 0.0]),
    );
    folder.put("cut.npy", &npy(&[2, 3], &[0.0; 6])[..140]);
    folder.put("cut.idx", &idx(&[2, 2, 2], &[0; 8])[..20]);
    folder.put("shape.idx", idx(&[1, 3, 3], &[0; 9]));
    let npz = common::npz(&[("x", npy(&[1, 3], &[1.0; 3]))]);
    folder.put("cut.npz", &npz[..npz.len() / 2]);
    let parquet = common::parquet(&[Some(1.0); 9], &["other"; 9]);
    folder.put("unseen.parquet", &parquet);
    folder.put("cut.parquet", &parquet[..parquet.len() - 9]);
    folder.put("other/maybe/1.png", png(2, &[0; 4]));
    folder.put("void/readme.txt", b"hello");
    let table = |file: &'static str| ["run", "table.bantam", file];
    let image = |file: &'static str| ["run", "image.bantam", file];
    let array = |file: &'static str| ["run", "array.bantam", file];
    let cases: &[Case<'_>] = &[
        (
            "no such file",
            &table("none.csv"),
            &["none.csv: no such file"],
        ),
        (
            "empty",
            &table("empty.csv"),
            &["empty.csv: the file is empty"],
        ),
        (
            "missing column",
            &table("no_age.csv"),
            &[
                "no_age.csv: the column \"age\" that the network needs is missing",
                "hint: did you mean \"ages\"?",
            ],
        ),
        (
            "no header",
            &table("no_header.csv"),
            &["no_header.csv: the column \"age\"", "no header"],
        ),
        (
            "unseen",
            &table("unseen.csv"),
            &[
                "unseen.csv:4: column \"sex\": unknown category \"other\", expected one of \"female\", \"male\"",
                "hint: ",
            ],
        ),
        (
            "text",
            &table("text.csv"),
            &["text.csv:2: column \"age\": expected a finite number, found \"old\""],
        ),
        (
            "ragged",
            &table("ragged.csv"),
            &["ragged.csv:3: expected 2 fields, found 1"],
        ),
        (
            "unknown class",
            &table("class.csv"),
            &[
                "class.csv:2: column \"survived\": unknown class \"perhaps\", expected one of \"no\", \"yes\"",
            ],
        ),
        (
            "not UTF-8",
            &table("latin1.csv"),
            &["latin1.csv:2: expected UTF-8"],
        ),
        ("an image for a table", &table("big.png"), &["big.png"]),
        (
            "an array for a table",
            &table("small.npy"),
            &["small.npy: the column \"age\""],
        ),
        ("Parquet cut", &table("cut.parquet"), &["cut.parquet: "]),
        (
            "Parquet unseen",
            &table("unseen.parquet"),
            &[
                "unseen.parquet: row 0: column \"sex\": unknown category \"other\"",
                "hint: ",
            ],
        ),
        (
            "image of another size",
            &image("big.png"),
            &["big.png: expected 2 x 2 pixels, found 3 x 3", "hint: "],
        ),
        (
            "no image",
            &image("bad.png"),
            &["bad.png: expected an image"],
        ),
        (
            "IDX cut",
            &image("cut.idx"),
            &["cut.idx: the file ends early", "needs 8 bytes, found 4"],
        ),
        (
            "IDX of another shape",
            &image("shape.idx"),
            &[
                "shape.idx: expected images of 2 x 2 pixels",
                "found [1, 3, 3]",
            ],
        ),
        (
            "a class that is none",
            &image("other"),
            &["other/maybe/1.png: unknown class \"maybe\", expected one of \"no\", \"yes\""],
        ),
        (
            "a folder of something else",
            &image("void"),
            &["void: expected images"],
        ),
        ("a table for images", &image("text.csv"), &["text.csv"]),
        (
            "array of another shape",
            &array("small.npy"),
            &["small.npy: expected samples of shape [3], found [2]"],
        ),
        (
            "array with NaN",
            &array("nan.npy"),
            &["nan.npy: row 1: expected finite numbers, found NaN"],
        ),
        (
            "array cut",
            &array("cut.npy"),
            &["cut.npy: ", "needs 24 bytes, found 12"],
        ),
        ("archive cut", &array("cut.npz"), &["cut.npz: "]),
        (
            "an image for arrays",
            &array("big.png"),
            &["big.png: expected an array of numbers, found an image"],
        ),
        (
            "arrays from stdin",
            &array("-"),
            &["expected images or arrays, found a table"],
        ),
    ];
    refused(&folder, cases);
}

/// What `measure` refuses, with file, line and column.
#[test]
fn data_to_measure() {
    let folder = Folder::new();
    let good = table(60, |i| ["a", "b"][usize::from(i % 7 > 3)].to_owned());
    folder.put("good.csv", &good);
    folder.put("twice.csv", good.replacen("x,z,y", "x,x,y", 1));
    let names: Vec<String> = (0..100_000).map(|i| format!("n{i}")).collect();
    let cells = vec!["1"; 100_000].join(",");
    folder.put(
        "wide.csv",
        format!("{}\n{cells}\n{cells}\n", names.join(",")),
    );
    let number = |i: usize| {
        if i == 40 {
            "many".to_owned()
        } else {
            format!("{}.5", i % 13)
        }
    };
    folder.put("turns.csv", table(60, number));
    folder.put(
        "variants.toml",
        "data = \"good.csv\"\ntarget = \"y\"\nrow = 3\n",
    );
    folder.put(
        "none.toml",
        "data = \"good.csv\"\ntarget = \"y\"\nvariant = []\n",
    );
    folder.put(
        "unknown.toml",
        "data = \"good.csv\"\ntarget = \"y\"\n[[variant]]\nname = \"v\"\ndrop = [\"zz\"]\n",
    );
    let measure = |data: &'static str| ["measure", data, "--target", "y"];
    let (twice, wide) = (measure("twice.csv"), measure("wide.csv"));
    refused(
        &folder,
        &[
            (
                "names",
                &twice,
                &["twice.csv:1: column \"x\": the name is given to two columns"],
            ),
            (
                "columns",
                &wide,
                &["wide.csv:1: expected at most 65536 columns, found 100000"],
            ),
            (
                "a type that turns, asked for as numbers",
                &["measure", "turns.csv", "--target", "x", "--numeric", "y"],
                &["turns.csv:42: column \"y\": expected a finite number, found \"many\""],
            ),
            (
                "a tolerance for classes",
                &["measure", "good.csv", "--target", "y", "--tolerance", "1"],
                &["good.csv: the target \"y\" is classes", "hint: "],
            ),
            (
                "no tolerance at all",
                &[
                    "measure",
                    "good.csv",
                    "--target",
                    "x",
                    "--task",
                    "number",
                    "--tolerance",
                    "0",
                ],
                &["good.csv", "expected a tolerance above 0, found 0"],
            ),
            ("nothing", &["measure"], &["DATA"]),
            (
                "no target",
                &["measure", "good.csv"],
                &["good.csv: a table needs the name", "x, z, y"],
            ),
            (
                "a wrong key",
                &["measure", "--variants", "variants.toml"],
                &["variants.toml", "line 3", "row"],
            ),
            (
                "no variants",
                &["measure", "--variants", "none.toml"],
                &["none.toml", "at least one"],
            ),
            (
                "a wrong column",
                &["measure", "--variants", "unknown.toml"],
                &["good.csv", "\"zz\""],
            ),
        ],
    );
}

/// What `measure` says of data that are odd, and measures all the same.
#[test]
fn data_that_are_odd() {
    let folder = Folder::new();
    let class = |i: usize| match i {
        37 => "rare".to_owned(),
        i => ["a", "b"][usize::from(i % 7 > 3)].to_owned(),
    };
    folder.put("rare.csv", table(60, class));
    let turning = |i: usize| {
        if i == 40 {
            "many".to_owned()
        } else {
            format!("{}", i % 5)
        }
    };
    folder.put("turns.csv", table(60, turning));
    folder.put(
        "same.csv",
        "x,z,y\n".to_owned() + &"1,2,a\n1,2,b\n3,4,a\n".repeat(20),
    );
    let cases: [(&str, &str, &[&str]); 3] = [
        (
            "rare.csv",
            "y",
            &["warning: rare.csv:39: column \"y\": the class \"rare\" has 1 row"],
        ),
        (
            "turns.csv",
            "y",
            &[
                "turns.csv: column \"y\" is read as categorical: 40 numbers come before \"many\" on line 42",
            ],
        ),
        ("same.csv", "y", &[]),
    ];
    for (file, target, says) in cases {
        let ran = run(folder.path(), &["measure", file, "--target", target]);
        assert_eq!(ran.code, Some(0), "{file}: {}", ran.stderr);
        for text in says {
            assert!(
                ran.stderr.contains(text),
                "{file} does not say {text:?}:\n{}",
                ran.stderr
            );
        }
        for bad in ["NaN", "inf"] {
            assert!(
                !ran.stdout.contains(bad),
                "{file} prints {bad}:\n{}",
                ran.stdout
            );
        }
    }
    let same = run(folder.path(), &["measure", "same.csv", "--target", "y"]);
    assert!(
        same.stdout.contains("33.3 % that no rule"),
        "{}",
        same.stdout
    );
}

/// A file that its decoder cannot handle ends the program by a panic, which does not unwind in the program that
/// is given away: whoever gave the command reads of the file all the same.
#[test]
fn a_panic_of_a_decoder_names_the_file() {
    let good = common::parquet(&[Some(1.0); 60], &["a"; 60]);
    let (folder, name) = (Folder::new(), "damaged.parquet");
    let trips = |bytes: &[u8]| {
        folder.put(name, bytes);
        let read = bantam_data::read_parquet(&folder.path().join(name), &Default::default());
        read.is_err_and(|e| e.to_string().ends_with("contradicts itself"))
    };
    let mut flipped = (0..8 * good.len()).map(|bit| {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    });
    let damaged = flipped.find(|bytes| trips(bytes));
    let damaged = damaged.expect("a bit trips an assertion of the decoder, or this tests nothing");
    folder.put(name, damaged);
    let says = "error: damaged.parquet: expected a Parquet file, found one that contradicts itself";
    let cases: &[Case<'_>] = &[
        ("measure", &["measure", name, "--target", "sex"], &[says]),
        ("grow", &["grow", name, "--target", "sex"], &[says]),
    ];
    refused(&folder, cases);
}
