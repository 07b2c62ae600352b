//! On a real disk, in a temporary directory.

use super::*;
use futures_util::stream;
use gateway_files::Shelf as _;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

const HOUR: Duration = Duration::from_secs(3600);

fn shelf(directory: &TempDir, max_total: u64) -> Shelf {
    Shelf::at(directory.path().join("new/files"), max_total, HOUR)
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn content(pieces: impl IntoIterator<Item = Result<Vec<u8>, Rejection>, IntoIter: Send + 'static>) -> Content {
    Box::pin(stream::iter(pieces.into_iter().map(|piece| piece.map(Into::into))))
}

async fn put(shelf: &Shelf, file: &str, bytes: impl Into<Vec<u8>>) -> Result<(), Rejection> {
    shelf.put(name(file), content([Ok(bytes.into())])).await
}

async fn get(shelf: &Shelf, file: &str) -> Option<Vec<u8>> {
    let found = shelf.get(name(file)).await.unwrap()?;
    Some(read(found).await)
}

async fn read(found: Found) -> Vec<u8> {
    let pieces: Vec<_> = (found.read)(0..found.length).map(|piece| piece.unwrap()).collect().await;
    pieces.concat()
}

/// What lies in the directory, sorted.
fn listed(shelf: &Shelf) -> Vec<String> {
    let Ok(entries) = fs::read_dir(&shelf.0.path) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn grow_old(shelf: &Shelf, file: &str, age: Duration) {
    let file = File::options().write(true).open(shelf.0.whole(&name(file))).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

#[tokio::test]
async fn a_file_comes_back_as_it_was() {
    let directory = TempDir::new().unwrap();
    let shelf = shelf(&directory, 10 << 20);
    assert!(get(&shelf, "a").await.is_none());
    assert!(!shelf.0.path.exists(), "the directory is made when the first file comes");

    let large: Vec<u8> = (0..1_000_003_u32).map(|number| (number % 251) as u8).collect();
    shelf.put(name("a"), content(large.chunks(777).map(|piece| Ok(piece.to_vec())).collect::<Vec<_>>())).await.unwrap();
    assert_eq!(get(&shelf, "a").await.unwrap(), large);
    let found = shelf.get(name("a")).await.unwrap().unwrap();
    let part: Vec<_> = (found.read)(999_990..1_000_000).map(|piece| piece.unwrap()).collect().await;
    assert_eq!(part.concat(), large[999_990..1_000_000]);
    assert_eq!(listed(&shelf), ["temporary-a"]);
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(shelf.0.path.clone()), mode(shelf.0.whole(&name("a")))), (0o700, 0o600));
}

#[tokio::test]
async fn who_reads_while_it_is_replaced_reads_one_of_the_two() {
    let directory = TempDir::new().unwrap();
    let shelf = shelf(&directory, 10 << 20);
    put(&shelf, "a", "first").await.unwrap();
    let old = shelf.get(name("a")).await.unwrap().unwrap();
    let tag = old.tag.clone();
    put(&shelf, "a", "other").await.unwrap();
    let new = shelf.get(name("a")).await.unwrap().unwrap();
    assert_ne!(new.tag, tag, "another content has another tag");
    assert_eq!((read(old).await, read(new).await), (b"first".to_vec(), b"other".to_vec()));
    assert_eq!(shelf.0.lock().total(), 5);
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing_and_the_old_file() {
    let directory = TempDir::new().unwrap();
    let shelf = shelf(&directory, 10 << 20);
    put(&shelf, "a", "old").await.unwrap();
    let broken = content([Ok(vec![0; 2 * GATHERED]), Err(Rejection::client(code::VALUE, "broken"))]);
    assert_eq!(shelf.put(name("a"), broken).await.unwrap_err().refusal().detail, "broken");

    // One whose client goes away: the future is dropped.
    let silent = Box::pin(stream::iter([Ok(vec![0; 2 * GATHERED].into())]).chain(stream::pending()));
    let mut upload = shelf.put(name("a"), silent);
    while listed(&shelf).len() == 1 || shelf.0.writing.load(SeqCst) == 0 {
        assert!(futures_util::poll!(&mut upload).is_pending());
        tokio::task::yield_now().await;
    }
    drop(upload);
    // It may have been dropped while a thread was writing.
    while shelf.0.writing.load(SeqCst) > 0 || listed(&shelf).len() > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(listed(&shelf), ["temporary-a"]);
    assert_eq!(get(&shelf, "a").await.unwrap(), b"old");
}

#[tokio::test]
async fn the_oldest_goes_first_when_room_is_needed() {
    let directory = TempDir::new().unwrap();
    let shelf = shelf(&directory, 300);
    for file in ["c", "a", "b"] {
        put(&shelf, file, vec![0; 100]).await.unwrap();
    }
    put(&shelf, "d", vec![0; 100]).await.unwrap();
    assert_eq!(listed(&shelf), ["temporary-a", "temporary-b", "temporary-d"]);
    // Replacing makes it the newest.
    put(&shelf, "a", vec![0; 10]).await.unwrap();
    put(&shelf, "e", vec![0; 150]).await.unwrap();
    assert_eq!(listed(&shelf), ["temporary-a", "temporary-d", "temporary-e"]);
    // A shelf that has just started knows the ages, too.
    let restarted = self::shelf(&directory, 300);
    put(&restarted, "f", vec![0; 145]).await.unwrap();
    assert_eq!(listed(&restarted), ["temporary-e", "temporary-f"]);
    put(&restarted, "g", vec![0; 300]).await.unwrap();
    assert_eq!(listed(&restarted), ["temporary-g"]);
}

#[tokio::test]
async fn uploads_under_way_count_and_cannot_be_evicted() {
    let directory = TempDir::new().unwrap();
    let shelf = shelf(&directory, 2 * GATHERED as u64);
    put(&shelf, "old", "x").await.unwrap();
    let begun = stream::iter([Ok(vec![0; 2 * GATHERED - 1].into())]);
    let mut under_way = shelf.put(name("a"), Box::pin(begun.chain(stream::pending())));
    while shelf.0.writing.load(SeqCst) == 0 {
        assert!(futures_util::poll!(&mut under_way).is_pending());
        tokio::task::yield_now().await;
    }
    let refusal = put(&shelf, "b", "xy").await.unwrap_err().into_refusal();
    assert_eq!((refusal.status.as_u16(), refusal.code), (503, code::UNAVAILABLE));
    assert!(refusal.retry_after.is_some());
    drop(under_way);
    while shelf.0.writing.load(SeqCst) > 0 {
        tokio::task::yield_now().await;
    }
    put(&shelf, "b", "xy").await.unwrap();
    assert_eq!(shelf.0.writing.load(SeqCst), 0);
}

#[tokio::test]
async fn what_is_too_old_is_gone() {
    let directory = TempDir::new().unwrap();
    let shelf = shelf(&directory, 1000);
    for file in ["old", "young"] {
        put(&shelf, file, file).await.unwrap();
    }
    grow_old(&shelf, "old", HOUR);
    grow_old(&shelf, "young", HOUR - Duration::from_secs(60));
    assert!(get(&shelf, "old").await.is_none(), "at once, whenever it is swept");
    shelf.sweep().await;
    assert_eq!(listed(&shelf), ["temporary-young"]);
    assert_eq!(shelf.0.lock().total(), 5);
}

#[tokio::test]
async fn a_sweep_removes_left_overs_and_nothing_that_is_not_ours() {
    let directory = TempDir::new().unwrap();
    let shelf = shelf(&directory, 1000);
    put(&shelf, "a", "a").await.unwrap();
    let under_way = Writing::begin(shelf.0.clone()).unwrap().write(b"half").unwrap();
    let at = |file: &str| shelf.0.path.join(file);
    for file in ["uploading-of-the-dead", "gateway.toml", "temporary-.x", "a"] {
        fs::write(at(file), "content").unwrap();
        File::options().write(true).open(at(file)).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }
    std::os::unix::fs::symlink("/etc/passwd", at("temporary-link")).unwrap();
    // Another gateway's sweep, as good as ours.
    self::shelf(&directory, 1000).sweep().await;
    let names = listed(&shelf);
    assert_eq!(names[..4], ["a", "gateway.toml", "temporary-.x", "temporary-a"]);
    assert!(names[4] == "temporary-link" && names[5].starts_with(PART) && names.len() == 6, "{names:?}");
    assert!(get(&shelf, "gateway.toml").await.is_none());
    assert!(get(&shelf, "link").await.is_none(), "a link is none of ours");
    tokio::task::spawn_blocking(move || under_way.commit(name("b"))).await.unwrap().unwrap();
    assert_eq!(get(&shelf, "b").await.unwrap(), b"half");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_at_once_keep_the_limit_and_each_other_whole() {
    let directory = TempDir::new().unwrap();
    let shelf = shelf(&directory, 4 << 20);
    let tasks: Vec<_> = (0..24_u8)
        .map(|number| {
            let shelf = shelf.clone();
            tokio::spawn(async move {
                let file = format!("same-{}", number % 3);
                let pieces = (0..10).map(move |_| Ok(vec![number; 40_000]));
                let kept = shelf.put(name(&file), content(pieces)).await;
                // All the room there is may be taken by others under way.
                kept.is_ok() || kept.unwrap_err().refusal().status == 503
            })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap());
    }
    assert_eq!(shelf.0.writing.load(SeqCst), 0);
    let names = listed(&shelf);
    assert!(!names.is_empty() && names.iter().all(|name| name.starts_with("temporary-same-")), "{names:?}");
    for file in names {
        let bytes = get(&shelf, file.strip_prefix(WHOLE).unwrap()).await.unwrap();
        assert!(bytes.len() == 400_000 && bytes.iter().all(|byte| *byte == bytes[0]), "{file} is a mixture");
    }
}

#[tokio::test]
async fn what_the_disk_says_becomes_a_refusal() {
    let refusal = |kind: ErrorKind| Rejection::from(Fault::of(kind.into())).into_refusal();
    for full in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded] {
        assert_eq!((refusal(full).status.as_u16(), refusal(full).code), (503, code::UNAVAILABLE));
    }
    assert_eq!(refusal(ErrorKind::PermissionDenied).code, code::IO);

    // A directory that cannot be made: a file stands in its way.
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("new"), "").unwrap();
    let refusal = put(&shelf(&directory, 1000), "a", "x").await.unwrap_err().into_refusal();
    assert_eq!((refusal.status.as_u16(), refusal.code), (500, code::IO));
    assert!(!refusal.detail.contains("new"), "no path of ours is told: {}", refusal.detail);
}

#[tokio::test]
async fn a_directory_that_goes_away_is_made_again() {
    let directory = TempDir::new().unwrap();
    let shelf = shelf(&directory, 1000);
    put(&shelf, "a", "x").await.unwrap();
    fs::remove_dir_all(&shelf.0.path).unwrap();
    assert!(get(&shelf, "a").await.is_none());
    put(&shelf, "b", "y").await.unwrap();
    shelf.sweep().await;
    assert_eq!((listed(&shelf), shelf.0.lock().total()), (vec!["temporary-b".to_owned()], 1));
}

#[tokio::test(start_paused = true)]
async fn sweeping_goes_on_until_it_is_stopped() {
    let directory = TempDir::new().unwrap();
    let shelf = shelf(&directory, 1000);
    let stop = CancellationToken::new();
    let tending = tokio::spawn(shelf.clone().tend(stop.clone()));
    put(&shelf, "a", "x").await.unwrap();
    grow_old(&shelf, "a", HOUR);
    while !listed(&shelf).is_empty() {
        tokio::time::sleep(SWEEPS[1]).await;
    }
    stop.cancel();
    tending.await.unwrap();
}
