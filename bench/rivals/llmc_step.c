// llmc_step CHECKPOINT BATCH B T LEARNING_RATE CLIP BETA1 BETA2 EPSILON WEIGHT_DECAY
// One training step of llm.c for each line of standard input; answers with the loss before it. BATCH holds B x T ids
// and then as many targets, 32-bit. Compiled with -DTESTING, which leaves out llm.c's own main.
#include "train_gpt2.c"

static void clip_gradients(GPT2 *model, float max_norm) {
    double sum = 0.0;
#pragma omp parallel for reduction(+ : sum)
    for (size_t i = 0; i < model->num_parameters; i++) {
        sum += (double)model->grads_memory[i] * model->grads_memory[i];
    }
    float norm = sqrt(sum);
    if (norm <= max_norm) { return; }
    float scale = max_norm / (norm + 1e-6f);
#pragma omp parallel for
    for (size_t i = 0; i < model->num_parameters; i++) {
        model->grads_memory[i] *= scale;
    }
}

int main(int argc, char **argv) {
    if (argc != 11) { return 2; }
    // llm.c prints about itself on standard output.
    FILE *answers = fdopen(dup(1), "w");
    dup2(2, 1);
    GPT2 model;
    gpt2_build_from_checkpoint(&model, argv[1]);
    int B = atoi(argv[3]), T = atoi(argv[4]);
    float option[6];
    for (int i = 0; i < 6; i++) { option[i] = atof(argv[5 + i]); }
    int *batch = mallocCheck(2 * sizeof(int) * B * T);
    FILE *file = fopenCheck(argv[2], "rb");
    freadCheck(batch, sizeof(int), 2 * B * T, file);
    fcloseCheck(file);
    for (int step = 1, c; (c = getchar()) != EOF;) {
        if (c != '\n') { continue; }
        gpt2_forward(&model, batch, batch + B * T, B, T);
        gpt2_zero_grad(&model);
        gpt2_backward(&model);
        clip_gradients(&model, option[1]);
        gpt2_update(&model, option[0], option[2], option[3], option[4], option[5], step++);
        fprintf(answers, "%.9g\n", model.mean_loss);
        fflush(answers);
    }
    return 0;
}
