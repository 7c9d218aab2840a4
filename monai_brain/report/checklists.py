"""What journals ask for: items of three checklists in short words, and which fact of a run answers each."""

from typing import NamedTuple


class Item(NamedTuple):
    """One thing to report."""

    number: str
    asked: str
    fact: str | None = None
    """Key of `report.run_facts.facts_of`; None: only the authors know."""


class Checklist(NamedTuple):
    """A published checklist."""

    title: str
    source: str
    items: tuple[Item, ...]


CLAIM_2024 = Checklist(
    "CLAIM, 2024 update",
    "A. S. Tejani et al., Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update, Radiology: "
    "Artificial Intelligence 2024, 6(4): e240300",
    (
        Item("1", "Title or abstract names the kind of AI", "technique"),
        Item("2", "Abstract with design, methods, results, conclusions"),
        Item("3", "Background, and what the method is meant for"),
        Item("4", "Aims and hypotheses"),
        Item("5", "Prospective or retrospective"),
        Item("6", "Goal of the study"),
        Item("7", "Where the data come from", "sources"),
        Item("8", "Who was included and excluded"),
        Item("9", "Preprocessing", "preprocessing"),
        Item("10", "How subsets were chosen", "partition"),
        Item("11", "De-identification"),
        Item("12", "Missing data"),
        Item("13", "How images were acquired"),
        Item("14", "What the reference standard is"),
        Item("15", "Why this one"),
        Item("16", "Who annotated, with what experience"),
        Item("17", "How the test set was annotated"),
        Item("18", "How far annotators agree"),
        Item("19", "How cases were assigned to parts", "partition"),
        Item("20", "At which level the parts are disjoint", "disjoint"),
        Item("21", "Planned size of the test set"),
        Item("22", "The model: inputs, layers, outputs", "model"),
        Item("23", "Software with versions", "software"),
        Item("24", "How weights were initialized", "initialization"),
        Item("25", "Training in detail", "training"),
        Item("26", "How the final model was chosen", "selection"),
        Item("27", "Ensembles", "ensemble"),
        Item("28", "Metrics", "metrics"),
        Item("29", "Uncertainty and significance", "uncertainty"),
        Item("30", "Robustness", "robustness"),
        Item("31", "Explanations", "explanations"),
        Item("32", "Evaluation on internal data", "internal"),
        Item("33", "Test on external data", "external"),
        Item("34", "Registration of a trial"),
        Item("35", "How many were included and excluded", "flow"),
        Item("36", "Demography and clinic by part"),
        Item("37", "Performance with uncertainty", "performance"),
        Item("38", "Diagnostic accuracy with precision", "per_class"),
        Item("39", "Failures", "failures"),
        Item("40", "Limitations", "limits"),
        Item("41", "What follows for practice"),
        Item("42", "Protocol or further technical details", "details"),
        Item("43", "Availability of software, model, data", "availability"),
        Item("44", "Funding, and the role of funders"),
    ),
)

TRIPOD_AI = Checklist(
    "TRIPOD+AI, 2024",
    "G. S. Collins et al., TRIPOD+AI statement: updated guidance for reporting clinical prediction models that use "
    "regression or machine learning methods, BMJ 2024, 385: e078378",
    (
        Item("1", "Title: a prediction model, its population and outcome", "technique"),
        Item("2", "Structured abstract"),
        Item("3a", "Context in health care, earlier models"),
        Item("3b", "For whom, where in care, for which users"),
        Item("3c", "Known inequalities between groups"),
        Item("4", "Objectives: development, evaluation, or both"),
        Item("5a", "Sources of data, separately for development and evaluation", "sources"),
        Item("5b", "Dates"),
        Item("6a", "Setting and number of centers"),
        Item("6b", "Who was eligible"),
        Item("6c", "Treatments"),
        Item("7", "Preparation of the data", "preprocessing"),
        Item("8a", "Outcome and how it was assessed"),
        Item("8b", "Who assessed it"),
        Item("8c", "Whether they were blinded"),
        Item("9a", "Choice of predictors", "predictors"),
        Item("9b", "Predictors, and how they were measured"),
        Item("9c", "Who assessed predictors"),
        Item("10", "Reason for the sample size"),
        Item("11", "Missing data"),
        Item("12a", "How data were used and partitioned", "partition"),
        Item("12b", "How predictors were handled", "preprocessing"),
        Item("12c", "Kind of model, how it was built and tuned", "training"),
        Item("12d", "Differences between clusters, such as centers", "clusters"),
        Item("12e", "Measures of performance", "metrics"),
        Item("12f", "Updating of the model", "updating"),
        Item("12g", "How predictions were computed for evaluation", "prediction"),
        Item("13", "Class imbalance", "imbalance"),
        Item("14", "Fairness"),
        Item("15", "What the model puts out, and thresholds", "output"),
        Item("16", "Differences between development and evaluation data", "external"),
        Item("17", "Ethical approval"),
        Item("18a", "Funding"),
        Item("18b", "Conflicts of interest"),
        Item("18c", "Protocol"),
        Item("18d", "Registration"),
        Item("18e", "Availability of data"),
        Item("18f", "Availability of code", "availability"),
        Item("19", "Patients and the public involved"),
        Item("20a", "Flow of participants", "flow"),
        Item("20b", "Characteristics of participants"),
        Item("20c", "Development against evaluation data", "class_counts"),
        Item("21", "Participants and outcomes in each analysis", "class_counts"),
        Item("22", "The full model, so that others can use it", "details"),
        Item("23a", "Performance with intervals, also in subgroups", "performance"),
        Item("23b", "Differences between clusters", "clusters"),
        Item("24", "Results of updating", "updating"),
        Item("25", "Interpretation, also of fairness"),
        Item("26", "Limitations", "limits"),
        Item("27a", "What happens with poor or missing input", "input"),
        Item("27b", "What users must do and know"),
        Item("27c", "Next steps"),
    ),
)

METRICS_RELOADED = Checklist(
    "Metrics Reloaded, 2024",
    "L. Maier-Hein, A. Reinke et al., Metrics reloaded: recommendations for image analysis validation, Nature Methods "
    "2024, 21: 195-212. FP: groups of properties of its problem fingerprint; S: its steps of choosing metrics (S8 and "
    "S9 are for the detection of objects); 3: applying them, its third step",
    (
        Item("FP1, S1", "Category of the problem", "technique"),
        Item("FP2", "What matters in the domain: borders, sizes, costs of errors of either kind"),
        Item("FP3", "The target: size, number and shape of structures", "target"),
        Item("FP4", "The data: prevalence and imbalance of classes", "imbalance"),
        Item("FP4", "The data: cases that are not independent", "disjoint"),
        Item("FP4", "The data: uncertainty of the reference"),
        Item("FP5", "What the algorithm puts out: classes, scores, masks", "output"),
        Item("S2", "Multi-class metric, and why this one", "metrics"),
        Item("S3", "Metric per class, at a threshold", "per_class"),
        Item("S4", "Metric over thresholds, such as AUC", "thresholds"),
        Item("S5", "Calibration", "calibration"),
        Item("S6, S7", "Overlap and border metrics together, of masks", "borders"),
        Item("3", "Rule for empty masks and undefined values", "empty"),
        Item("3", "How values are put together: by case, patient, class", "aggregation"),
        Item("3", "Uncertainty and ranking", "uncertainty"),
        Item("3", "Values of single cases are kept", "single_cases"),
        Item("3", "Baselines", "baselines"),
    ),
)

CHECKLISTS = {"claim2024": CLAIM_2024, "tripod-ai": TRIPOD_AI, "metrics": METRICS_RELOADED}
