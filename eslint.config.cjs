/* What is checked is what goes wrong unseen; how a line is laid out is left to its author. */
const js = require("@eslint/js");
const globals = require("globals");

/* What the WebUI's page offers to scripts, as far as SafeGen uses it. */
const PAGE = [
    "gradioApp", "onAfterUiUpdate", "onUiLoaded", "onUiTabChange", "randomId", "requestProgress",
];

const careful = {
    "eqeqeq": "error",
    "no-var": "error",
    "prefer-const": "error",
};

module.exports = [
    {ignores: [".venv/", "build/", "out/"]},
    js.configs.recommended,
    {
        languageOptions: {ecmaVersion: 2021},
        linterOptions: {reportUnusedDisableDirectives: true},
        rules: careful,
    },
    {
        // A page loads these beside other scripts, in one scope.
        files: ["**/*.js"],
        languageOptions: {sourceType: "script", globals: globals.browser},
        rules: {"no-implicit-globals": "error", "strict": ["error", "function"]},
    },
    {
        files: ["javascript/*.js"],
        languageOptions: {globals: Object.fromEntries(PAGE.map(name => [name, "readonly"]))},
    },
    {
        // Scenarios run in node; what they evaluate runs in the page.
        files: ["**/*.cjs"],
        languageOptions: {sourceType: "commonjs", globals: {...globals.node, ...globals.browser}},
    },
];
