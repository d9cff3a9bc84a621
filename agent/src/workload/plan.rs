//! A suite, laid out: which questions about which pictures, in which order.

use std::{path::PathBuf, sync::Arc};

use sha2::{Digest as _, Sha256};
use tokwatt_domain::{
    ids::Digest,
    workload::{SceneTruth, Scoring, Truth},
};

use super::{
    folder::{self, FolderError, OwnPicture},
    picture::{Side, SideOutOfRange},
    scene::Scene,
    suite::{Seed, SeedOutOfRange, Suite, Task},
    turn::Turn,
};

/// Everything that will be asked.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The suite's name.
    pub suite: String,
    /// The suite's, as far as nothing else is asked: with another seed or own pictures it is another one. With own pictures
    /// it covers those that are asked about. A limit on drawn pictures leaves it: fewer samples of the same work.
    pub digest: Digest,
    /// In the order in which they are run: size by size and task by task, so that a picture is not asked about twice in a
    /// row and no cache can help.
    pub cells: Vec<PlannedCell>,
}

/// One task at one size.
#[derive(Clone, Debug)]
pub struct PlannedCell {
    /// The task's name.
    pub task: String,
    /// Side of the pictures in pixels; absent for own ones, which have sizes of their own.
    pub image_px: Option<u32>,
    /// Most tokens of an answer.
    pub max_tokens: u32,
    /// Whether answers are to have all of them.
    pub is_fixed_length: bool,
    /// How answers are read.
    pub scoring: Scoring,
    /// What is measured, in order.
    pub items: Vec<Item>,
    /// What is asked before, and never measured.
    pub warm_up: Vec<Item>,
}

/// One question about one picture.
#[derive(Clone, Debug)]
pub struct Item {
    /// The picture's name: `scene-SEED`, or its file's.
    pub name: String,
    /// What was said before; empty where the question begins the conversation.
    pub history: Vec<Turn>,
    /// What is asked.
    pub prompt: String,
    /// The picture, if it is about one.
    pub picture: Option<ItemPicture>,
    /// What is known about it; absent for own pictures without a label.
    pub truth: Option<Truth>,
}

/// A picture that is asked about, before it is a file: 200,000 drawn ones would fill any memory.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum ItemPicture {
    /// A scene, drawn when its question is near.
    Scene {
        /// Where it comes from.
        seed: u64,
        /// How large it is drawn.
        side: Side,
    },
    /// A file as it was found, PNG or JPEG.
    File(Arc<[u8]>),
}

/// What may be different from what the suite says.
#[derive(Clone, Debug, Default)]
pub struct PlanOptions {
    /// Most pictures for each task; at least 1.
    pub limit: Option<u32>,
    /// Sizes of drawn pictures in pixels.
    pub sizes: Option<Vec<u32>>,
    /// A folder of own pictures, asked about in place of drawn ones.
    pub images: Option<PathBuf>,
    /// Seed of the first scene.
    pub seed: Option<u64>,
}

/// Why nothing can be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A size at which no scene is drawn.
    #[error(transparent)]
    Side(#[from] SideOutOfRange),
    /// A seed out of range.
    #[error(transparent)]
    Seed(#[from] SeedOutOfRange),
    /// Own pictures that cannot be asked about.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Own pictures are asked about as they are.
    #[error("{0} is about drawn scenes; leave it out where own pictures are asked about")]
    OnlyDrawn(&'static str),
    /// A limit of none.
    #[error("a limit of 0 pictures leaves nothing to ask")]
    NoPicture,
    /// A task that no own picture suits.
    #[error(
        "task `{task}` asks about labelled pictures with two objects that differ in name and place; `{}` has none",
        folder.display()
    )]
    NothingToAsk {
        /// Which.
        task: String,
        /// Where.
        folder: PathBuf,
    },
}

impl Plan {
    /// Chooses or reads the pictures and lays out the questions.
    ///
    /// # Errors
    /// An option is out of range, options contradict each other, or own pictures cannot be used.
    pub fn make(suite: &Suite, options: &PlanOptions) -> Result<Self, PlanError> {
        if options.limit == Some(0) {
            return Err(PlanError::NoPicture);
        }
        match &options.images {
            None => Self::over_scenes(suite, options),
            Some(_) if options.sizes.is_some() => Err(PlanError::OnlyDrawn("a size")),
            Some(_) if options.seed.is_some() => Err(PlanError::OnlyDrawn("a seed")),
            Some(folder) => Self::over_folder(suite, folder.clone(), options.limit),
        }
    }

    /// Whether anything of it is about a picture.
    pub fn has_pictures(&self) -> bool {
        self.cells.iter().any(PlannedCell::has_pictures)
    }

    fn over_scenes(suite: &Suite, options: &PlanOptions) -> Result<Self, PlanError> {
        let mut suite = suite.clone();
        if let Some(seed) = options.seed {
            suite.pictures.seed = Seed::new(seed)?;
        }
        let count = suite.pictures.count.get();
        let seed = suite.pictures.seed;
        let measured = choose(
            &suite,
            seed.measured(),
            options.limit.unwrap_or(count).min(count),
        );
        let warm_up = choose(&suite, seed.warm_up(), suite.warm_up);
        let mut cells = Vec::new();
        for side in sides(&suite, options)? {
            let of_scenes = |scenes: &[Scene]| -> Vec<Subject> {
                scenes
                    .iter()
                    .map(|scene| Subject::scene(scene, side))
                    .collect()
            };
            let (measured, warm_up) = (of_scenes(&measured), of_scenes(&warm_up));
            let image_px = Some(side.px());
            cells.extend(
                suite
                    .tasks
                    .iter()
                    .map(|task| cell(task, image_px, &measured, &warm_up)),
            );
        }
        Ok(Self {
            digest: suite.digest(),
            suite: suite.name,
            cells,
        })
    }

    fn over_folder(suite: &Suite, folder: PathBuf, limit: Option<u32>) -> Result<Self, PlanError> {
        let limit = limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
        let pictures = folder::read(&folder, limit)?;
        let digest = digest_over(suite, &pictures);
        let warm_up = like_these(suite, &pictures);
        let measured: Vec<Subject> = pictures.into_iter().map(Subject::own).collect();
        let cells: Vec<PlannedCell> = suite
            .tasks
            .iter()
            .map(|task| cell(task, None, &measured, &warm_up))
            .collect();
        match cells.iter().find(|cell| cell.items.is_empty()) {
            None => Ok(Self {
                suite: suite.name.clone(),
                digest,
                cells,
            }),
            Some(cell) => Err(PlanError::NothingToAsk {
                task: cell.task.clone(),
                folder,
            }),
        }
    }
}

impl ItemPicture {
    /// Its file, PNG or JPEG; a scene is drawn for it, which takes milliseconds.
    pub fn file(&self) -> Arc<[u8]> {
        match self {
            Self::Scene { seed, side } => Scene::of_seed(*seed).draw(*side).to_png().into(),
            Self::File(file) => file.clone(),
        }
    }
}

impl PlannedCell {
    /// Whether each of its questions is about a picture.
    pub fn has_pictures(&self) -> bool {
        self.items.iter().any(|item| item.picture.is_some())
    }
}

/// What is asked about.
struct Subject {
    name: String,
    picture: ItemPicture,
    truth: Option<SceneTruth>,
}

impl Subject {
    fn scene(scene: &Scene, side: Side) -> Self {
        let seed = scene.seed();
        Self {
            name: format!("scene-{seed}"),
            picture: ItemPicture::Scene { seed, side },
            truth: Some(scene.truth().clone()),
        }
    }

    fn own(picture: OwnPicture) -> Self {
        Self {
            name: picture.file,
            picture: ItemPicture::File(picture.bytes),
            truth: picture.truth,
        }
    }
}

/// Scenes in order of their seeds, without those that some task has no question about.
fn choose(suite: &Suite, seeds: impl Iterator<Item = u64>, count: u32) -> Vec<Scene> {
    let suits = |scene: &Scene| {
        let mut relations = suite.tasks.iter().filter_map(|task| task.relation);
        relations.all(|relation| relation.applies_to(scene.truth()))
    };
    let scenes = seeds.map(Scene::of_seed).filter(suits);
    scenes.zip(0..count).map(|(scene, _)| scene).collect()
}

/// The sizes to draw at, each once.
fn sides(suite: &Suite, options: &PlanOptions) -> Result<Vec<Side>, SideOutOfRange> {
    let Some(sizes) = &options.sizes else {
        return Ok(vec![suite.pictures.side_px]);
    };
    let mut sides = Vec::new();
    for &px in sizes {
        let side = Side::new(px)?;
        if !sides.contains(&side) {
            sides.push(side);
        }
    }
    Ok(sides)
}

/// Scenes to warm up with before own pictures, about as large as the largest of them.
fn like_these(suite: &Suite, pictures: &[OwnPicture]) -> Vec<Subject> {
    let largest = pictures.iter().map(|picture| picture.side_px).max();
    let px = largest.unwrap_or_default().clamp(96, 1024);
    let side = Side::new(px).expect("clamped");
    choose(suite, suite.pictures.seed.warm_up(), suite.warm_up)
        .iter()
        .map(|scene| Subject::scene(scene, side))
        .collect()
}

fn cell(
    task: &Task,
    image_px: Option<u32>,
    measured: &[Subject],
    warm_up: &[Subject],
) -> PlannedCell {
    PlannedCell {
        task: task.name.clone(),
        image_px,
        max_tokens: task.max_tokens.get(),
        is_fixed_length: false,
        scoring: task.scoring,
        items: items(task, measured),
        warm_up: items(task, warm_up),
    }
}

fn items(task: &Task, subjects: &[Subject]) -> Vec<Item> {
    let mut items = Vec::new();
    for subject in subjects {
        items.extend(item(task, subject, items.len()));
    }
    items
}

/// The task's question about a picture; none where a direct question finds no two objects.
fn item(task: &Task, subject: &Subject, number: usize) -> Option<Item> {
    let (prompt, truth) = match task.relation {
        None => (task.prompt.clone(), subject.truth.clone().map(Truth::Scene)),
        Some(relation) => {
            let scene = subject.truth.as_ref()?;
            let (prompt, answer) = relation.question(&task.prompt, scene, number)?;
            (prompt, Some(answer))
        }
    };
    Some(Item {
        name: subject.name.clone(),
        history: Vec::new(),
        prompt,
        picture: Some(subject.picture.clone()),
        truth,
    })
}

/// The suite asked about these pictures.
fn digest_over(suite: &Suite, pictures: &[OwnPicture]) -> Digest {
    let mut hash = Sha256::new();
    hash.update(suite.digest().0);
    for picture in pictures {
        hash.update(Sha256::digest(&picture.bytes));
        let label = serde_json::to_vec(&(&picture.file, &picture.truth));
        hash.update(Sha256::digest(
            label.expect("plain fields, written to memory"),
        ));
    }
    Digest(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, num::NonZeroU32};

    use super::*;
    use crate::workload::gallery::{Drawing, draw_to_folder};

    fn plan(suite: &str, options: &PlanOptions) -> Plan {
        Plan::make(&Suite::load(suite).unwrap(), options).unwrap()
    }

    fn limited(limit: u32) -> PlanOptions {
        PlanOptions {
            limit: Some(limit),
            ..PlanOptions::default()
        }
    }

    fn names(items: &[Item]) -> Vec<&str> {
        items.iter().map(|item| item.name.as_str()).collect()
    }

    fn gallery(count: u32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let count = NonZeroU32::new(count).unwrap();
        draw_to_folder(folder.path(), &Drawing::Scenes, count, 7, Side::SMALLEST).unwrap();
        folder
    }

    fn own(folder: &tempfile::TempDir) -> PlanOptions {
        PlanOptions {
            images: Some(folder.path().to_owned()),
            ..PlanOptions::default()
        }
    }

    #[test]
    fn the_reference_suite_asks_five_tasks_about_500_scenes() {
        let plan = plan("edge-vision", &PlanOptions::default());
        let tasks: Vec<&str> = plan.cells.iter().map(|cell| cell.task.as_str()).collect();
        assert_eq!(
            tasks,
            [
                "caption_brief",
                "objects_and_counts",
                "attributes",
                "spatial_relationships",
                "scene_context"
            ]
        );
        for cell in &plan.cells {
            assert_eq!((cell.items.len(), cell.warm_up.len()), (500, 2));
            assert_eq!((cell.image_px, cell.max_tokens), (Some(96), 64));
            assert!(cell.items.iter().all(|item| item.truth.is_some()));
        }
        assert_eq!(plan.cells[0].items[0].name, "scene-0");
        assert_eq!(plan.cells[4].items[499].name, "scene-499");
    }

    #[test]
    fn warm_up_pictures_are_never_measured() {
        for suite in Suite::built_in() {
            let plan = plan(suite, &PlanOptions::default());
            let pictures = |items: &[Item]| -> BTreeSet<ItemPicture> {
                items
                    .iter()
                    .filter_map(|item| item.picture.clone())
                    .collect()
            };
            for cell in &plan.cells {
                let (measured, warm_up) = (pictures(&cell.items), pictures(&cell.warm_up));
                assert!(measured.is_disjoint(&warm_up) && !warm_up.is_empty());
                assert_eq!(measured.len(), cell.items.len(), "a picture came twice");
            }
        }
    }

    #[test]
    fn tasks_share_their_pictures() {
        let plan = plan("edge-vision", &limited(3));
        let [first, second] =
            [0, 1].map(|cell: usize| plan.cells[cell].items[2].picture.clone().unwrap());
        assert_eq!(first, second);
    }

    #[test]
    fn a_limit_takes_the_first_pictures_and_keeps_the_digest() {
        let all = plan("edge-vision", &PlanOptions::default());
        let few = plan("edge-vision", &limited(3));
        assert_eq!(names(&few.cells[1].items), names(&all.cells[1].items[..3]));
        assert_eq!(few.digest, all.digest);
        assert_eq!(
            plan("edge-vision", &limited(9999)).cells[0].items.len(),
            500
        );
    }

    #[test]
    fn another_seed_is_another_suite() {
        let other = PlanOptions {
            seed: Some(1),
            ..limited(2)
        };
        let plan = plan("edge-vision", &other);
        assert_eq!(names(&plan.cells[0].items), ["scene-1", "scene-2"]);
        assert_ne!(plan.digest, Suite::load("edge-vision").unwrap().digest());
    }

    #[test]
    fn each_size_is_drawn_once() {
        let sizes = PlanOptions {
            sizes: Some(vec![128, 96, 128]),
            ..limited(1)
        };
        let plan = plan("spatial-direct", &sizes);
        let cells: Vec<(Option<u32>, &str)> = plan
            .cells
            .iter()
            .map(|cell| (cell.image_px, cell.task.as_str()))
            .collect();
        assert_eq!(
            cells,
            [
                (Some(128), "left_right"),
                (Some(128), "above_below"),
                (Some(96), "left_right"),
                (Some(96), "above_below")
            ]
        );
        assert_eq!(width(&plan.cells[0].items[0]), 128);
    }

    fn width(item: &Item) -> usize {
        let file = item.picture.as_ref().unwrap().file();
        imagesize::blob_size(&file).unwrap().width
    }

    #[test]
    fn a_sweep_of_sizes_asks_about_the_same_scenes_each_drawn_at_its_size() {
        let sizes = PlanOptions {
            sizes: Some(vec![256, 512, 1024]),
            ..limited(4)
        };
        let plan = plan("edge-vision", &sizes);
        let of_size = |px| {
            let mut cells = plan
                .cells
                .iter()
                .filter(move |cell| cell.image_px == Some(px));
            cells.next().unwrap()
        };
        let [small, middle, large] = [256, 512, 1024].map(of_size);
        for other in [middle, large] {
            assert_eq!(names(&small.items), names(&other.items));
            let truths = |cell: &PlannedCell| -> Vec<Option<Truth>> {
                cell.items.iter().map(|item| item.truth.clone()).collect()
            };
            assert_eq!(truths(small), truths(other));
        }
        let widths = [small, middle, large].map(|cell| width(&cell.items[3]));
        assert_eq!(widths, [256, 512, 1024]);
    }

    #[test]
    fn a_picture_of_ones_own_is_asked_about_as_it_is() {
        let folder = gallery(1);
        let plan = plan("edge-vision", &own(&folder));
        let file = std::fs::read(folder.path().join("scene_0000.png")).unwrap();
        assert_eq!(
            *plan.cells[0].items[0].picture.as_ref().unwrap().file(),
            file
        );
    }

    #[test]
    fn direct_questions_have_each_answer_equally_often() {
        let plan = plan("spatial-direct", &PlanOptions::default());
        for cell in &plan.cells {
            let answers = cell.items.iter().map(|item| match &item.truth {
                Some(Truth::Answer { expected, choices }) => {
                    assert!(!item.prompt.contains('{'), "{}", item.prompt);
                    choices
                        .iter()
                        .position(|choice| choice == expected)
                        .unwrap()
                }
                other => panic!("a direct question has an answer, not {other:?}"),
            });
            assert_eq!((cell.items.len(), answers.sum::<usize>()), (500, 250));
        }
    }

    #[test]
    fn own_pictures_are_asked_about_with_and_without_labels() {
        let folder = gallery(2);
        let unlabelled = plan("edge-vision", &own(&folder));
        assert_eq!(
            names(&unlabelled.cells[0].items),
            ["scene_0000.png", "scene_0001.png"]
        );
        assert!(
            unlabelled.cells[0]
                .items
                .iter()
                .all(|item| item.truth.is_none())
        );
        assert_eq!(unlabelled.cells[0].image_px, None);
        assert_eq!(unlabelled.cells[0].warm_up.len(), 2);

        std::fs::rename(
            folder.path().join("truth.jsonl"),
            folder.path().join("labels.jsonl"),
        )
        .unwrap();
        let labelled = plan("edge-vision", &own(&folder));
        let want = Truth::Scene(Scene::of_seed(8).truth().clone());
        assert_eq!(labelled.cells[0].items[1].truth.as_ref(), Some(&want));
        assert_ne!(labelled.digest, unlabelled.digest);
    }

    #[test]
    fn what_cannot_be_planned_is_said() {
        let folder = gallery(1);
        #[track_caller]
        fn check(suite: &str, options: &PlanOptions, want: &str) {
            let error = Plan::make(&Suite::load(suite).unwrap(), options).unwrap_err();
            assert!(error.to_string().contains(want), "{error}");
        }
        check("edge-vision", &limited(0), "a limit of 0 pictures");
        let sizes = PlanOptions {
            sizes: Some(vec![2000]),
            ..limited(1)
        };
        check("edge-vision", &sizes, "96 to 1024 px a side, not at 2000");
        let seed = PlanOptions {
            seed: Some(u64::MAX),
            ..limited(1)
        };
        check("edge-vision", &seed, "seeds are below 2^62");
        check(
            "spatial-direct",
            &own(&folder),
            "task `left_right` asks about labelled pictures",
        );
        let sized = PlanOptions {
            sizes: Some(vec![96]),
            ..own(&folder)
        };
        check("edge-vision", &sized, "a size is about drawn scenes");
        let seeded = PlanOptions {
            seed: Some(1),
            ..own(&folder)
        };
        check("edge-vision", &seeded, "a seed is about drawn scenes");
    }
}
