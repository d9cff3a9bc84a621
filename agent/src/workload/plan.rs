//! A suite, laid out: which questions about which pictures, in which order.

use std::{path::PathBuf, sync::Arc};

use sha2::{Digest as _, Sha256};
use tokwatt_domain::{
    ids::Digest,
    workload::{Load, SceneTruth, Scoring, Truth},
};

use super::{
    chart::{Chart, ChartQuestion, Figure},
    folder::{self, FolderError, OwnPicture},
    padding::pad,
    picture::{Side, SideOutOfRange},
    scene::Scene,
    suite::{About, Pictures, Seed, SeedOutOfRange, StatedQuestion, Suite, Task},
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
    /// Requests in flight that the suite suggests; one if it suggests none.
    pub concurrency: Vec<u32>,
    /// In the order in which they are run: size by size and task by task, so that a picture is not asked about twice in a
    /// row and no cache can help. Tasks without pictures have no size and come with the first one.
    pub cells: Vec<PlannedCell>,
}

/// One task at one size.
#[derive(Clone, Debug)]
pub struct PlannedCell {
    /// The task's name.
    pub task: String,
    /// Side of the pictures in pixels; absent for own ones, which have sizes of their own, and where there are none.
    pub image_px: Option<u32>,
    /// Most tokens of an answer.
    pub max_tokens: u32,
    /// Whether answers are to have all of them.
    pub is_fixed_length: bool,
    /// How answers are read.
    pub scoring: Scoring,
    /// Most questions of a closed loop for each that is in flight.
    pub requests_per_slot: Option<u32>,
    /// What is measured, in order.
    pub items: Vec<Item>,
    /// What is asked before, and never measured.
    pub warm_up: Vec<Item>,
}

/// One question about at most one picture.
#[derive(Clone, Debug)]
pub struct Item {
    /// The picture's name: `scene-SEED`, `chart-SEED`, or its file's; without a picture the question's.
    pub name: String,
    /// What was said before; empty where the question begins the conversation.
    pub history: Vec<Turn>,
    /// What is asked.
    pub prompt: String,
    /// The picture, if it is about one.
    pub picture: Option<ItemPicture>,
    /// What is known about it; absent for own pictures without a label.
    pub truth: Option<ItemTruth>,
}

/// What is known about a question, before it is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum ItemTruth {
    /// Everything in the scene of that seed.
    Scene(u64),
    /// This.
    Stated(Box<Truth>),
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
    /// A chart, drawn when its question is near.
    Chart {
        /// Which kind.
        figure: Figure,
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
    /// Most pictures, or questions without one, for each task; at least 1.
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
    /// Nothing is drawn.
    #[error("{what} is about drawn pictures, and suite `{suite}` has none; leave it out")]
    NothingDrawn {
        /// What was asked for.
        what: &'static str,
        /// Of which suite.
        suite: String,
    },
    /// Own pictures cannot take the place of what a task brings.
    #[error("task `{0}` is not about scenes; own pictures take a suite whose tasks all are")]
    NotAboutScenes(String),
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
            None => Self::over_drawn(suite, options),
            Some(_) if options.sizes.is_some() => Err(PlanError::OnlyDrawn("a size")),
            Some(_) if options.seed.is_some() => Err(PlanError::OnlyDrawn("a seed")),
            Some(folder) => Self::over_folder(suite, folder.clone(), options.limit),
        }
    }

    /// Whether anything of it is about a picture.
    pub fn has_pictures(&self) -> bool {
        self.cells.iter().any(PlannedCell::has_pictures)
    }

    fn over_drawn(suite: &Suite, options: &PlanOptions) -> Result<Self, PlanError> {
        let mut suite = suite.clone();
        let missing = |what| PlanError::NothingDrawn {
            what,
            suite: suite.name.clone(),
        };
        match (&mut suite.pictures, options) {
            (None, PlanOptions { sizes: Some(_), .. }) => return Err(missing("a size")),
            (None, PlanOptions { seed: Some(_), .. }) => return Err(missing("a seed")),
            (
                Some(pictures),
                PlanOptions {
                    seed: Some(seed), ..
                },
            ) => {
                pictures.seed = Seed::new(*seed)?;
            }
            _ => {}
        }
        let mut subjects = Subjects::new(&suite, options.limit);
        let mut cells = Vec::new();
        for (position, side) in sides(&suite, options)?.into_iter().enumerate() {
            for task in &suite.tasks {
                match side.filter(|_| task.has_pictures()) {
                    Some(side) => cells.push(subjects.cell(task, Some(side))),
                    None if position == 0 => cells.push(subjects.cell(task, None)),
                    None => {}
                }
            }
        }
        Ok(Self::of(&suite, suite.digest(), cells))
    }

    fn over_folder(suite: &Suite, folder: PathBuf, limit: Option<u32>) -> Result<Self, PlanError> {
        let is_other = |task: &&Task| !matches!(task.about(), About::Scenes(_));
        if let Some(task) = suite.tasks.iter().find(is_other) {
            return Err(PlanError::NotAboutScenes(task.name.clone()));
        }
        let limit = limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
        let pictures = folder::read(&folder, limit)?;
        let digest = digest_over(suite, &pictures);
        let warm_up = like_these(suite, &pictures);
        let measured: Vec<Subject> = pictures.into_iter().zip(0..).map(Subject::own).collect();
        let cells: Vec<PlannedCell> = suite
            .tasks
            .iter()
            .map(|task| {
                cell(
                    suite,
                    task,
                    None,
                    items(task, measured.iter().cloned()),
                    items(task, warm_up.iter().cloned()),
                )
            })
            .collect();
        match cells.iter().find(|cell| cell.items.is_empty()) {
            None => Ok(Self::of(suite, digest, cells)),
            Some(cell) => Err(PlanError::NothingToAsk {
                task: cell.task.clone(),
                folder,
            }),
        }
    }

    fn of(suite: &Suite, digest: Digest, cells: Vec<PlannedCell>) -> Self {
        let suggested = suite.concurrency.iter().map(|n| n.get());
        Self {
            suite: suite.name.clone(),
            digest,
            concurrency: match suite.concurrency.is_empty() {
                true => vec![1],
                false => suggested.collect(),
            },
            cells,
        }
    }
}

impl ItemPicture {
    /// Its file, PNG or JPEG; a scene or a chart is drawn for it, which takes milliseconds.
    pub fn file(&self) -> Arc<[u8]> {
        match self {
            Self::Scene { seed, side } => Scene::of_seed(*seed).draw(*side).to_png().into(),
            Self::Chart { figure, seed, side } => {
                Chart::of_seed(*figure, *seed).draw(*side).to_png().into()
            }
            Self::File(file) => file.clone(),
        }
    }
}

impl Item {
    /// What is known about it, in full.
    pub fn truth(&self) -> Option<Truth> {
        self.truth.as_ref().map(|truth| match truth {
            ItemTruth::Scene(seed) => Truth::Scene(Scene::of_seed(*seed).truth().clone()),
            ItemTruth::Stated(truth) => (**truth).clone(),
        })
    }
}

impl From<Truth> for ItemTruth {
    fn from(truth: Truth) -> Self {
        Self::Stated(Box::new(truth))
    }
}

impl PlannedCell {
    /// What is asked under a load: all of it, unless so few are in flight that it would take too long.
    pub fn items_at(&self, load: Load) -> &[Item] {
        let most = load.concurrency().zip(self.requests_per_slot);
        let most = most.map(|(in_flight, each)| in_flight.saturating_mul(each));
        let most = most.map_or(usize::MAX, |most| {
            usize::try_from(most).unwrap_or(usize::MAX)
        });
        &self.items[..self.items.len().min(most)]
    }

    /// Whether each of its questions is about a picture.
    pub fn has_pictures(&self) -> bool {
        self.items.iter().any(|item| item.picture.is_some())
    }
}

/// What a suite asks about, each kind of it chosen once.
struct Subjects<'a> {
    suite: &'a Suite,
    limit: Option<u32>,
    /// Seeds of the measured scenes and of those to warm up with; chosen when a task is about them.
    scenes: Option<[Vec<u64>; 2]>,
}

impl<'a> Subjects<'a> {
    fn new(suite: &'a Suite, limit: Option<u32>) -> Self {
        Self {
            suite,
            limit,
            scenes: None,
        }
    }

    fn cell(&mut self, task: &Task, side: Option<Side>) -> PlannedCell {
        let [measured, warm_up] = match (task.about(), side, &self.suite.pictures) {
            (About::Scenes(_), Some(side), Some(pictures)) => {
                let of_scenes = |seeds: &Vec<u64>| {
                    let subjects = seeds.iter().map(|seed| Subject::scene(*seed, side));
                    items(task, subjects)
                };
                self.scenes(pictures).each_ref().map(of_scenes)
            }
            (About::Charts(prompt, chart), Some(side), Some(pictures)) => {
                let ask = |seed| about_chart(prompt, chart, seed, side);
                self.seeds(pictures)
                    .map(|seeds| seeds.into_iter().filter_map(ask).collect())
            }
            (About::Prompt(prompt), _, Some(pictures)) => {
                let ask = |seed| alone(format!("prompt-{seed}"), padded(task, prompt, seed));
                self.seeds(pictures)
                    .map(|seeds| seeds.into_iter().map(ask).collect())
            }
            (About::Questions(questions), ..) => [
                self.rounds(task, questions),
                (0..self.suite.warm_up).map(greeting).collect(),
            ],
            _ => [Vec::new(), Vec::new()],
        };
        let image_px = side.map(Side::px);
        cell(self.suite, task, image_px, measured, warm_up)
    }

    fn scenes(&mut self, pictures: &Pictures) -> &[Vec<u64>; 2] {
        let (suite, measured) = (self.suite, self.measured(pictures));
        self.scenes.get_or_insert_with(|| {
            [
                choose(suite, pictures.seed.measured(), measured),
                choose(suite, pictures.seed.warm_up(), suite.warm_up),
            ]
        })
    }

    /// Seeds of what is measured, and of what is warmed up with.
    fn seeds(&self, pictures: &Pictures) -> [Vec<u64>; 2] {
        let take = |seeds: &mut dyn Iterator<Item = u64>, n: u32| {
            seeds.zip(0..n).map(|(seed, _)| seed).collect()
        };
        [
            take(&mut pictures.seed.measured(), self.measured(pictures)),
            take(&mut pictures.seed.warm_up(), self.suite.warm_up),
        ]
    }

    fn measured(&self, pictures: &Pictures) -> u32 {
        let limit = self.limit.unwrap_or(pictures.usually());
        limit.min(pictures.count.get())
    }

    /// All questions in turn, as often as the task says.
    fn rounds(&self, task: &Task, questions: &[StatedQuestion]) -> Vec<Item> {
        let rounds = task.rounds.map_or(1, |rounds| rounds.get());
        let all = (0..rounds).flat_map(|_| questions);
        let most = self
            .limit
            .map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
        let asked = all.take(most).map(|question| Item {
            name: question.name.clone(),
            history: question.history.clone(),
            prompt: question.prompt(task.schema.as_ref()),
            picture: None,
            truth: question
                .truth(task.scoring, task.schema.as_ref())
                .map(ItemTruth::from),
        });
        asked.collect()
    }
}

/// A scene or a picture of one's own.
#[derive(Clone)]
struct Subject {
    name: String,
    picture: ItemPicture,
    /// Of a picture of one's own, where there is a label.
    label: Option<SceneTruth>,
    /// Of the words before a prompt.
    seed: u64,
}

impl Subject {
    fn scene(seed: u64, side: Side) -> Self {
        Self {
            name: format!("scene-{seed}"),
            picture: ItemPicture::Scene { seed, side },
            label: None,
            seed,
        }
    }

    fn own((picture, seed): (OwnPicture, u64)) -> Self {
        Self {
            name: picture.file,
            picture: ItemPicture::File(picture.bytes),
            label: picture.truth,
            seed,
        }
    }

    fn truth(&self) -> Option<SceneTruth> {
        match self.picture {
            ItemPicture::Scene { seed, .. } => Some(Scene::of_seed(seed).truth().clone()),
            _ => self.label.clone(),
        }
    }

    /// The same, without making it where that is possible later.
    fn item_truth(&self) -> Option<ItemTruth> {
        match self.picture {
            ItemPicture::Scene { seed, .. } => Some(ItemTruth::Scene(seed)),
            _ => self.label.clone().map(Truth::Scene).map(ItemTruth::from),
        }
    }
}

/// Seeds of scenes in their order, without those that some task has no question about.
fn choose(suite: &Suite, seeds: impl Iterator<Item = u64>, count: u32) -> Vec<u64> {
    let relations = || suite.tasks.iter().filter_map(|task| task.relation);
    let suits = |seed: &u64| {
        // 200,000 scenes are not laid out for nothing.
        relations().next().is_none() || {
            let scene = Scene::of_seed(*seed);
            relations().all(|relation| relation.applies_to(scene.truth()))
        }
    };
    let seeds = seeds.filter(suits).zip(0..count);
    seeds.map(|(seed, _)| seed).collect()
}

/// The sizes to draw at, each once; one of none where nothing is drawn.
fn sides(suite: &Suite, options: &PlanOptions) -> Result<Vec<Option<Side>>, SideOutOfRange> {
    let asked = match (&options.sizes, &suite.pictures) {
        (_, None) => return Ok(vec![None]),
        (Some(sizes), _) => sizes
            .iter()
            .map(|px| Side::new(*px))
            .collect::<Result<_, _>>()?,
        (None, Some(pictures)) => pictures.sides(),
    };
    let mut sides = Vec::new();
    for side in asked {
        if !sides.contains(&Some(side)) {
            sides.push(Some(side));
        }
    }
    Ok(sides)
}

/// Scenes to warm up with before own pictures, about as large as the largest of them.
fn like_these(suite: &Suite, pictures: &[OwnPicture]) -> Vec<Subject> {
    let largest = pictures.iter().map(|picture| picture.side_px).max();
    let px = largest.unwrap_or_default().clamp(96, 1024);
    let side = Side::new(px).expect("clamped");
    let Some(drawn) = &suite.pictures else {
        return Vec::new();
    };
    choose(suite, drawn.seed.warm_up(), suite.warm_up)
        .into_iter()
        .map(|seed| Subject::scene(seed, side))
        .collect()
}

fn cell(
    suite: &Suite,
    task: &Task,
    image_px: Option<u32>,
    items: Vec<Item>,
    warm_up: Vec<Item>,
) -> PlannedCell {
    PlannedCell {
        task: task.name.clone(),
        image_px,
        max_tokens: task.max_tokens.get(),
        is_fixed_length: task.fixed_length,
        scoring: task.scoring,
        requests_per_slot: suite.requests_per_slot.map(|n| n.get()),
        items,
        warm_up,
    }
}

fn items(task: &Task, subjects: impl Iterator<Item = Subject>) -> Vec<Item> {
    let About::Scenes(prompt) = task.about() else {
        return Vec::new();
    };
    let mut items = Vec::new();
    for subject in subjects {
        items.extend(item(task, prompt, &subject, items.len()));
    }
    items
}

/// The task's question about a picture; none where a direct question finds no two objects.
fn item(task: &Task, prompt: &str, subject: &Subject, number: usize) -> Option<Item> {
    let (prompt, truth) = match task.relation {
        None => (prompt.to_owned(), subject.item_truth()),
        Some(relation) => {
            let (prompt, answer) = relation.question(prompt, &subject.truth()?, number)?;
            (prompt, Some(answer.into()))
        }
    };
    Some(Item {
        name: subject.name.clone(),
        history: Vec::new(),
        prompt: padded(task, &prompt, subject.seed),
        picture: Some(subject.picture.clone()),
        truth,
    })
}

fn about_chart(prompt: &str, question: ChartQuestion, seed: u64, side: Side) -> Option<Item> {
    let figure = question.figure();
    let (prompt, truth) = question.ask(prompt, &Chart::of_seed(figure, seed), seed)?;
    Some(Item {
        name: format!("chart-{seed}"),
        history: Vec::new(),
        prompt,
        picture: Some(ItemPicture::Chart { figure, seed, side }),
        truth: Some(truth.into()),
    })
}

/// The prompt at the length that the task states.
fn padded(task: &Task, prompt: &str, seed: u64) -> String {
    match task.prompt_words {
        Some(words) => pad(prompt, words.get(), seed),
        None => prompt.to_owned(),
    }
}

/// A question about nothing that can be seen or is known.
fn alone(name: String, prompt: String) -> Item {
    Item {
        name,
        history: Vec::new(),
        prompt,
        picture: None,
        truth: None,
    }
}

/// What is asked before a task's own questions; no suite asks it.
fn greeting(number: u32) -> Item {
    let prompt = format!("This is warm-up number {}. Say hello.", number + 1);
    alone(format!("warm-up-{number}"), prompt)
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

    use tokwatt_domain::{metrics::quality, workload::Arrivals};

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
        for suite in ["edge-vision", "spatial-direct", "charts"] {
            let plan = plan(suite, &limited(200));
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
                cell.items.iter().map(Item::truth).collect()
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
            let answers = cell.items.iter().map(|item| match &item.truth() {
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

    fn cell<'a>(plan: &'a Plan, task: &str, image_px: Option<u32>) -> &'a PlannedCell {
        let mut cells = plan.cells.iter();
        let found = cells.find(|cell| cell.task == task && cell.image_px == image_px);
        found.unwrap_or_else(|| panic!("no {task} at {image_px:?}"))
    }

    #[test]
    fn charts_are_asked_about_with_answers_that_are_right() {
        let plan = plan("charts", &limited(12));
        assert_eq!(plan.cells.len(), 9);
        for cell in &plan.cells {
            assert_eq!((cell.items.len(), cell.image_px), (12, Some(768)));
            for item in &cell.items {
                assert!(!item.prompt.contains(['{', '}']), "{}", item.prompt);
                let truth = &item.truth().unwrap();
                let answer = quality::canonical_answer(cell.scoring, truth).unwrap();
                let score = quality::score(cell.scoring, &answer, truth).unwrap();
                assert_eq!(score.is_correct, Some(true), "{}: {answer}", item.name);
            }
        }
        let first = &cell(&plan, "trend", Some(768)).items[0];
        assert_eq!((first.name.as_str(), width(first)), ("chart-0", 768));
    }

    #[test]
    fn every_answer_to_a_direct_question_about_charts_comes_up_about_as_often() {
        let plan = plan("charts", &PlanOptions::default());
        for (task, choices) in [
            ("trend", 3),
            ("panel_kind", 4),
            ("largest_slice", 4),
            ("direction", 3),
        ] {
            let mut counts = std::collections::BTreeMap::<String, usize>::new();
            for item in &cell(&plan, task, Some(768)).items {
                if let Some(Truth::Answer { expected, .. }) = &item.truth() {
                    *counts.entry(expected.clone()).or_default() += 1;
                }
            }
            assert_eq!(counts.len(), choices, "{task}: {counts:?}");
            let share = 100 / choices;
            let is_fair = counts.values().all(|n| n.abs_diff(share) <= share / 2 + 3);
            assert!(is_fair, "{task}: {counts:?}");
        }
    }

    #[test]
    fn a_task_without_pictures_is_asked_once_and_not_at_every_size() {
        let plan = plan("concurrency", &limited(3));
        let cells: Vec<(&str, Option<u32>)> = plan
            .cells
            .iter()
            .map(|cell| (cell.task.as_str(), cell.image_px))
            .collect();
        assert_eq!(
            cells,
            [
                ("text", None),
                ("picture", Some(256)),
                ("picture", Some(512))
            ]
        );
        assert!(!plan.cells[0].has_pictures() && plan.cells[1].has_pictures());
        let prompts: BTreeSet<&str> = plan.cells[..2]
            .iter()
            .flat_map(|cell| cell.items.iter().chain(&cell.warm_up))
            .map(|item| item.prompt.as_str())
            .collect();
        // The same seeds, so the same words with a picture and without one; warm-ups have others.
        assert_eq!(prompts.len(), 5);
        for prompt in prompts {
            assert_eq!(prompt.split_whitespace().count(), 440);
        }
        for cell in &plan.cells {
            assert!(cell.is_fixed_length && cell.max_tokens == 150);
        }
    }

    #[test]
    fn a_load_of_few_asks_few() {
        let plan = plan("concurrency", &PlanOptions::default());
        assert_eq!(plan.concurrency, [1, 2, 8, 16, 32]);
        let asked = |load| plan.cells[1].items_at(load).len();
        let closed = [1, 2, 32, 64].map(|n| asked(Load::Closed(n)));
        assert_eq!(closed, [20, 40, 640, 640]);
        let open = Load::Open {
            per_1000_s: 1,
            arrivals: Arrivals::Constant,
        };
        assert_eq!(asked(open), 640);
    }

    #[test]
    fn questions_are_asked_in_turn_as_often_as_the_task_says() {
        let plan = plan("text-seven", &PlanOptions::default());
        assert_eq!(
            (plan.cells.len(), plan.concurrency.as_slice()),
            (7, [1].as_slice())
        );
        let turns = cell(&plan, "multi_turn", None);
        assert_eq!(turns.items.len(), 20);
        assert_eq!(turns.items[0].name, turns.items[5].name);
        assert_ne!(turns.items[0].name, turns.items[1].name);
        assert!(turns.items.iter().all(|item| !item.history.is_empty()));
        let asked = &cell(&plan, "structured", None).items[0].prompt;
        assert!(
            asked.contains(r#""required":["name","category""#),
            "{asked}"
        );
        let all = plan.cells.iter().flat_map(|cell| &cell.items);
        let warm_up = plan.cells.iter().flat_map(|cell| &cell.warm_up);
        let measured: BTreeSet<&str> = all.map(|item| item.prompt.as_str()).collect();
        assert!(
            warm_up
                .into_iter()
                .all(|item| !measured.contains(item.prompt.as_str()))
        );
        let few = self::plan("text-seven", &limited(3));
        assert!(few.cells.iter().all(|cell| cell.items.len() == 3));
        assert_eq!(few.digest, plan.digest);
    }

    #[test]
    fn a_batch_asks_its_usual_count_and_more_on_request() {
        let usual = plan("batch", &PlanOptions::default());
        assert_eq!(usual.cells[0].items.len(), 5000);
        let more = plan("batch", &limited(5100));
        assert_eq!(more.cells[0].items.len(), 5100);
        assert_eq!(usual.digest, more.digest);
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
        assert_eq!(labelled.cells[0].items[1].truth(), Some(want));
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
        check(
            "charts",
            &own(&folder),
            "task `peak_month` is not about scenes",
        );
        check(
            "german-plc",
            &own(&folder),
            "task `plc` is not about scenes",
        );
        let sized = PlanOptions {
            sizes: Some(vec![96]),
            ..PlanOptions::default()
        };
        check("german-plc", &sized, "suite `german-plc` has none");
        let seeded = PlanOptions {
            seed: Some(7),
            ..PlanOptions::default()
        };
        check("german-plc", &seeded, "a seed is about drawn pictures");
    }
}
