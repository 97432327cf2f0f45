//! Which runs are likely to take alike: those of the same spec, those of one user and size, one
//! project and size, one project, all. Of specs there are many: those of which least was heard
//! lately are forgotten, and their numbers given to others.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use trainyard_jobs::{JobSpec, ProjectName};

/// What a job runs, as one number: the same for all jobs of a user whose specs have the same name
/// and program, with the same arguments and as many ranks. What the program is made of, its
/// environment and its limits do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Alike(u64);

impl Alike {
    /// That of a job that somebody submitted.
    #[must_use]
    pub fn of(spec: &JobSpec, principal: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        (spec.project.as_str(), principal, spec.name.as_str()).hash(&mut hasher);
        (&spec.run.command, &spec.run.recipe, spec.resources.gpus).hash(&mut hasher);
        for (name, value) in &spec.run.params {
            (name, format!("{value:?}")).hash(&mut hasher);
        }
        Self(hasher.finish())
    }
}

/// By what a job's kin are found.
#[derive(Debug, Clone, Copy)]
pub(in crate::placement) struct Who<'a> {
    pub(in crate::placement) project: &'a ProjectName,
    pub(in crate::placement) principal: &'a str,
    pub(in crate::placement) gpus: u32,
    pub(in crate::placement) alike: Alike,
}

/// The numbers of a job's classes, the finest first: jobs of its spec, its user's of its size, its
/// project's of its size, its project's, all.
pub(in crate::placement) type Kin = [usize; 5];

/// The numbers of the classes of runs.
#[derive(Debug, Clone, Default)]
pub(super) struct Classes {
    /// By number.
    known: Vec<OfClass>,
    all: Option<usize>,
    projects: BTreeMap<ProjectName, OfProject>,
    specs: BTreeMap<Alike, usize>,
    /// Numbers of classes that are forgotten.
    unused: Vec<usize>,
}

/// Whose class it is.
#[derive(Debug, Clone, Default)]
pub(super) struct OfClass {
    /// None: the class of all.
    pub(super) project: Option<ProjectName>,
    /// What its jobs run, if that is what they have in common.
    pub(super) alike: Option<Alike>,
}

#[derive(Debug, Clone)]
struct OfProject {
    all: usize,
    sizes: BTreeMap<u32, usize>,
    users: BTreeMap<String, BTreeMap<u32, usize>>,
}

/// Jobs of about as many ranks are of one size.
fn size(gpus: u32) -> u32 {
    gpus.max(1).ilog2()
}

impl Classes {
    /// The numbers of a job's classes; those that it is the first of are counted on.
    pub(super) fn number(&mut self, who: &Who<'_>) -> Kin {
        let size = size(who.gpus);
        let (known, unused) = (&mut self.known, &mut self.unused);
        let of_spec = *self.specs.entry(who.alike).or_insert_with(|| {
            let class = OfClass { project: Some(who.project.clone()), alike: Some(who.alike) };
            match unused.pop().and_then(|at| Some((at, known.get_mut(at)?))) {
                Some((at, place)) => {
                    *place = class;
                    at
                }
                None => {
                    known.push(class);
                    known.len() - 1
                }
            }
        });
        let mut next = |project: Option<&ProjectName>| {
            known.push(OfClass { project: project.cloned(), alike: None });
            known.len() - 1
        };
        let all = *self.all.get_or_insert_with(|| next(None));
        let mut next = || next(Some(who.project));
        let of_project = match self.projects.get_mut(who.project) {
            Some(known) => known,
            None => self.projects.entry(who.project.clone()).or_insert_with(|| OfProject {
                all: next(),
                sizes: BTreeMap::new(),
                users: BTreeMap::new(),
            }),
        };
        let of_size = *of_project.sizes.entry(size).or_insert_with(&mut next);
        let of_user = match of_project.users.get_mut(who.principal) {
            Some(known) => known,
            None => of_project.users.entry(who.principal.to_owned()).or_default(),
        };
        let of_user = *of_user.entry(size).or_insert_with(&mut next);
        [of_spec, of_user, of_size, of_project.all, all]
    }

    /// The numbers of those of a job's classes that have one.
    pub(super) fn find(&self, who: &Who<'_>) -> [Option<usize>; 5] {
        let size = size(who.gpus);
        let Some(of_project) = self.projects.get(who.project) else {
            return [None, None, None, None, self.all];
        };
        let of_user = of_project.users.get(who.principal).and_then(|sizes| sizes.get(&size));
        let of_size = of_project.sizes.get(&size);
        let of_spec = self.specs.get(&who.alike).copied();
        [of_spec, of_user.copied(), of_size.copied(), Some(of_project.all), self.all]
    }

    /// The class of all jobs of a project.
    pub(super) fn of_project(&self, project: &ProjectName) -> Option<usize> {
        self.projects.get(project).map(|known| known.all)
    }

    /// Whose a class is.
    pub(super) fn get(&self, class: usize) -> Option<&OfClass> {
        self.known.get(class)
    }

    /// Whether a class is that of one spec.
    pub(super) fn is_of_spec(&self, class: usize) -> bool {
        self.get(class).is_some_and(|known| known.alike.is_some())
    }

    pub(super) const fn count(&self) -> usize {
        self.known.len()
    }

    /// Nobody is found to be of a spec's class any more. Its number is still its own.
    pub(super) fn forget(&mut self, class: usize) {
        if let Some(alike) = self.known.get(class).and_then(|known| known.alike) {
            self.specs.remove(&alike);
        }
    }

    /// The number of a forgotten class may be given to another.
    pub(super) fn reuse(&mut self, class: usize) {
        self.unused.push(class);
    }

    #[cfg(test)]
    pub(super) fn specs(&self) -> usize {
        self.specs.len()
    }
}

#[cfg(test)]
impl Alike {
    /// One of many.
    pub(in crate::placement) const fn nth(n: u64) -> Self {
        Self(n.wrapping_add(1))
    }
}
