package testbed;

import java.io.Reader;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.function.UnaryOperator;

import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.ja.JapaneseAnalyzer;
import org.apache.lucene.analysis.ja.JapaneseBaseFormFilter;
import org.apache.lucene.analysis.ja.JapaneseIterationMarkCharFilter;
import org.apache.lucene.analysis.ja.JapaneseKatakanaStemFilter;
import org.apache.lucene.analysis.ja.JapanesePartOfSpeechStopFilter;
import org.apache.lucene.analysis.ja.JapaneseReadingFormFilter;
import org.apache.lucene.analysis.ja.JapaneseTokenizer;
import org.opensearch.index.analysis.CharFilterFactory;
import org.opensearch.index.analysis.NormalizingCharFilterFactory;
import org.opensearch.index.analysis.TokenFilterFactory;
import org.opensearch.index.analysis.TokenizerFactory;
import org.opensearch.indices.analysis.AnalysisModule.AnalysisProvider;
import org.opensearch.plugins.AnalysisPlugin;
import org.opensearch.plugins.Plugin;

/**
 * The official analysis-kuromoji plugin can't be had from the registry that the rest of the node comes from, so this
 * gives what it gives, under its names and with its defaults, over the same Lucene classes. No user dictionary.
 */
public final class KuromojiPlugin extends Plugin implements AnalysisPlugin {

    @Override
    public Map<String, AnalysisProvider<CharFilterFactory>> getCharFilters() {
        return Map.of("kuromoji_iteration_mark", (index, env, name, settings) -> new NormalizingCharFilterFactory() {
            @Override
            public String name() {
                return name;
            }

            @Override
            public Reader create(Reader in) {
                return new JapaneseIterationMarkCharFilter(
                    in,
                    settings.getAsBoolean("normalize_kanji", true),
                    settings.getAsBoolean("normalize_kana", true)
                );
            }
        });
    }

    @Override
    public Map<String, AnalysisProvider<TokenizerFactory>> getTokenizers() {
        return Map.of("kuromoji_tokenizer", (index, env, name, settings) -> {
            JapaneseTokenizer.Mode mode = JapaneseTokenizer.Mode.valueOf(settings.get("mode", "search").toUpperCase(Locale.ROOT));
            boolean noPunctuation = settings.getAsBoolean("discard_punctuation", true);
            boolean noCompound = settings.getAsBoolean("discard_compound_token", false);
            return TokenizerFactory.newFactory(name, () -> new JapaneseTokenizer(null, noPunctuation, noCompound, mode));
        });
    }

    @Override
    public Map<String, AnalysisProvider<TokenFilterFactory>> getTokenFilters() {
        return Map.of(
            "kuromoji_baseform",
            (index, env, name, settings) -> filter(name, JapaneseBaseFormFilter::new),
            "kuromoji_part_of_speech",
            (index, env, name, settings) -> {
                Set<String> tags = settings.hasValue("stoptags")
                    ? Set.copyOf(settings.getAsList("stoptags"))
                    : JapaneseAnalyzer.getDefaultStopTags();
                return filter(name, in -> new JapanesePartOfSpeechStopFilter(in, tags));
            },
            "kuromoji_readingform",
            (index, env, name, settings) -> {
                boolean romaji = settings.getAsBoolean("use_romaji", false);
                return filter(name, in -> new JapaneseReadingFormFilter(in, romaji));
            },
            "kuromoji_stemmer",
            (index, env, name, settings) -> {
                int length = settings.getAsInt("minimum_length", JapaneseKatakanaStemFilter.DEFAULT_MINIMUM_LENGTH);
                return filter(name, in -> new JapaneseKatakanaStemFilter(in, length));
            }
        );
    }

    private static TokenFilterFactory filter(String name, UnaryOperator<TokenStream> wrap) {
        return new TokenFilterFactory() {
            @Override
            public String name() {
                return name;
            }

            @Override
            public TokenStream create(TokenStream in) {
                return wrap.apply(in);
            }
        };
    }
}
